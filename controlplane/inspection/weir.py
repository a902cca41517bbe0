"""Reads what Weir's admin address tells of an Envoy's resources (`/v1/proxies/NODE/intended`)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from controlplane.errors import InspectionError
from controlplane.inspection.canonical import from_bytes
from controlplane.inspection.found import Found, Intended


def read_resources(document: Mapping[str, Any]) -> dict[str, Intended]:
    """By the short name of the type. Raises `InspectionError` where this is no such document."""
    try:
        return {kind: _type(one) for kind, one in document["types"].items()}
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise InspectionError(
            f"the answer is not what this version of `weir` reads ({error!r}); "
            "is the control plane of the same version?"
        ) from error


def _type(one: Mapping[str, Any]) -> Intended:
    resources = one["resources"]
    return Intended(
        version=one["version"],
        everything=one["wildcard"],
        asked=frozenset(one["names"]),
        resources=tuple(_resource(one["type_url"], each) for each in resources),
        states={each["name"]: each["state"] for each in resources},
    )


def _resource(type_url: str, one: Mapping[str, Any]) -> Found:
    name, version = one["name"], one["version"]
    if "body" not in one:
        return Found(name, None, version, why=one["withheld"])
    try:
        return Found(name, from_bytes(type_url, base64.b64decode(one["body"])), version)
    except InspectionError as error:
        return Found(name, None, version, why=str(error))
