"""Asks an Envoy over its admin interface. Reads only; nothing of it is changed."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer

from controlplane.errors import InspectionError
from controlplane.inspection.dump import read_dump
from controlplane.inspection.found import Running
from controlplane.settings import Address

DEADLINE_S = 10.0
MAX_PAGE_BYTES = 256 * 1024 * 1024

EnvoyAdminOption = Annotated[
    str | None,
    typer.Option(
        "--envoy-admin",
        help="HOST:PORT of the Envoy's own admin interface, such as 127.0.0.1:9901.",
    ),
]


def running(address: str, node: str) -> Running:
    """What the Envoy at this address runs. Raises `InspectionError`, also for another Envoy."""
    found = read_dump(_page(address, "/config_dump?include_eds"), _page(address, "/runtime"))
    if found.node != node:
        raise InspectionError(
            f"the Envoy at {address} is {found.node!r}, not {node!r}; "
            "give the admin address of that one, or the id of this one"
        )
    return found


def _page(address: str, path: str) -> Any:  # noqa: ANN401 (JSON)
    where = Address.parse(address)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{where}{path}", timeout=DEADLINE_S) as answer:
            raw = answer.read(MAX_PAGE_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise InspectionError(f"{where}{path}: HTTP {error.code}; is this an Envoy?") from error
    except (OSError, http.client.HTTPException) as error:
        raise InspectionError(
            f"no answer from {where}: {getattr(error, 'reason', error)}; "
            "is the admin interface of the Envoy there, and may this machine reach it?"
        ) from error
    if len(raw) > MAX_PAGE_BYTES:
        raise InspectionError(f"{where}{path}: more than {MAX_PAGE_BYTES} bytes")
    try:
        return json.loads(raw)
    except ValueError as error:
        raise InspectionError(f"{where}{path}: not JSON ({error}); is this an Envoy?") from error
