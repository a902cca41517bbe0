"""The last good state of a service as a JSON document; reading believes nothing in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from controlplane.model import EndpointId, Grouping, LastGood, ServiceName, Weights, Zone
from controlplane.model.crossing import Served

_N = TypeVar("_N", int, float)

VERSION = 1
"""Raise it when the meaning of a field changes; documents of another version are left alone."""
MOST_PRIORITY = 128
"""Envoy has no more."""
MOST_WEIGHT = 1_000_000
MOST_NUMBER = 1e12
"""A larger one was not measured."""


def to_text(last: LastGood) -> str:
    """One line of JSON; reading it gives the same floats and integers to the bit."""
    grouping = last.grouping
    return json.dumps(
        {
            "version": VERSION,
            "policy": last.policy,
            "endpoints": grouping.endpoints,
            "names": grouping.names,
            "index": grouping.index.tolist(),
            "by_locality": grouping.by_locality,
            "shares": last.shares.tolist(),
            "weights": last.weights.by_group,
            "places": [
                {"region": place.region, "zone": place.zone, **asdict(served)}
                for place, served in last.places.items()
            ],
        },
        separators=(",", ":"),
        allow_nan=False,
    )


def from_text(service: str, text: str, saved_at: float) -> LastGood:
    """The state that `text` holds. Raises `ValueError` that says what is wrong with it."""
    try:
        fields = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(fields, dict) or fields.get("version") != VERSION:
        raise ValueError(f"it is not a document of version {VERSION}")
    names = _strings(fields, "names")
    index = _numbers(fields, "index", int)
    if any(not 0 <= group < len(names) for group in index):
        raise ValueError("index points outside of names")
    endpoints = tuple(EndpointId(one) for one in _strings(fields, "endpoints"))
    if len(set(endpoints)) != len(endpoints):
        raise ValueError("an endpoint stands in it twice")
    shares = np.array(_numbers(fields, "shares", float), dtype=np.float64)
    if len(shares) and (shares.min() < 0 or abs(float(shares.sum()) - 1.0) > 1e-6):
        raise ValueError("its shares do not sum to 1")
    return LastGood(
        ServiceName(service),
        Grouping(
            endpoints, names, np.array(index, dtype=np.intp), fields.get("by_locality") is True
        ),
        shares,
        Weights(tuple(_numbers(fields, "weights", int))),
        str(fields.get("policy", "")),
        saved_at,
        _places(fields.get("places", [])),
    )


def _places(rows: object) -> Mapping[Zone, Served]:
    """An older document has none."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("places is not a list of objects")
    return {_zone(row): _served(row) for row in rows}


def _zone(row: dict[str, Any]) -> Zone:
    region, zone = row.get("region"), row.get("zone")
    if not isinstance(region, str) or not isinstance(zone, str):
        raise ValueError("a place is not of a region and a zone")
    return Zone(region, zone)


def _served(row: dict[str, Any]) -> Served:
    priority: Any = row.get("priority")
    weight: Any = row.get("weight")
    if not _is_number(priority, int) or not 0 <= priority <= MOST_PRIORITY:
        raise ValueError("the priority of a place is none")
    if weight is not None and not (_is_number(weight, int) and 1 <= weight <= MOST_WEIGHT):
        raise ValueError("the weight of a place is none")
    numbers: list[Any] = [row.get(name, 0.0) for name in ("requests", "way_s", "measured")]
    if not all(_is_number(one, float) and 0.0 <= one < MOST_NUMBER for one in numbers):
        raise ValueError("a number of a place is below 0 or absurd")
    return Served(priority, weight, row.get("together") is True, *map(float, numbers))


def _strings(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    values = fields.get(name)
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise ValueError(f"{name} is not a list of strings")
    return tuple(values)


def _numbers(fields: dict[str, Any], name: str, kind: type[_N]) -> list[_N]:
    values = fields.get(name)
    if not isinstance(values, list) or not all(_is_number(one, kind) for one in values):
        raise ValueError(f"{name} is not a list of {kind.__name__}s")
    return [kind(one) for one in values]


def _is_number(value: Any, kind: type[_N]) -> bool:  # noqa: ANN401 - whatever stands in the file
    allowed = (int,) if kind is int else (int, float)
    return isinstance(value, allowed) and not isinstance(value, bool) and math.isfinite(value)
