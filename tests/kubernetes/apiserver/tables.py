"""What `kubectl get` prints. Pure.

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

import datetime
from typing import Any, TypeAlias

from tests.kubernetes.apiserver import jsonpath
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.kinds import Column, Kind

Value: TypeAlias = Any

ACCEPT = "as=Table"
_NAME = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}


def table(found: Object, kind: Kind, now: datetime.datetime, include: str, bare: bool) -> Object:
    """A Table of an object or a list. `include`: None, Metadata or Object for each row; `bare`
    leaves the columns out, as all events of a watch but the first do.
    """
    many = "items" in found and found.get("kind") == kind.listed
    items = found["items"] if many else [found]
    about = found["metadata"]
    made: Object = {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": about if many else {"resourceVersion": about["resourceVersion"]},
        "columnDefinitions": None if bare else [_NAME, *map(_defined, kind.columns)],
        "rows": [
            {"cells": _cells(one, kind, now), "object": _attached(one, include)} for one in items
        ],
    }
    return made


def partial(found: Object, kind: Kind) -> Object:
    """Metadata alone, of an object or a list."""
    if "items" in found and found.get("kind") == kind.listed:
        listed = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        items = [_attached(one, "Metadata") for one in found["items"]]
        return {**listed, "metadata": found["metadata"], "items": items}
    made = _attached(found, "Metadata")
    assert made is not None
    return made


def _defined(column: Column) -> Object:
    return {
        "name": column.name,
        "type": {"date": "string", "ratio": "string", "count": "integer"}.get(
            column.type, column.type
        ),
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _attached(one: Object, include: str) -> Object | None:
    if include == "None":
        return None
    if include == "Object":
        return one
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {**partial, "metadata": one["metadata"]}


def _cells(one: Object, kind: Kind, now: datetime.datetime) -> list[Value]:
    return [one["metadata"]["name"], *(_cell(one, column, now) for column in kind.columns)]


def _cell(one: Object, column: Column, now: datetime.datetime) -> Value:
    if column.type == "ratio":
        some, of = (next(iter(jsonpath.find(one, p)), 0) for p in column.path.split())
        return f"{some}/{of}"
    found = jsonpath.find(one, column.path)
    if column.type == "count":
        return sum(map(len, found))
    if not found:
        return "<unknown>" if column.type == "date" else None
    if column.type == "date":
        return age(found[0], now)
    if column.type in ("integer", "number", "boolean"):
        return found[0]
    return ",".join(_said(value) for value in found)


def _said(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def age(text: Value, now: datetime.datetime) -> str:
    """As kubectl writes ages: 45s, 5m30s, 3h, 2d4h, 90d."""
    if not isinstance(text, str):
        return "<unknown>"
    try:
        then = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return "<invalid>"
    seconds = int((now - then).total_seconds())
    if seconds < 0:
        return "<invalid>" if seconds < -1 else "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    for bound, whole, rest in (
        (120, f"{seconds}s", 0),
        (600, f"{minutes}m", seconds % 60 and f"{seconds % 60}s"),
        (10_800, f"{minutes}m", 0),
        (28_800, f"{hours}h", minutes % 60 and f"{minutes % 60}m"),
        (172_800, f"{hours}h", 0),
        (691_200, f"{days}d", hours % 24 and f"{hours % 24}h"),
    ):
        if seconds < bound:
            return f"{whole}{rest or ''}"
    return f"{days}d"
