"""The last good state of a service as a JSON document; reading believes nothing in it."""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import numpy as np

from controlplane.model import EndpointId, Grouping, LastGood, ServiceName, Weights

_N = TypeVar("_N", int, float)

VERSION = 1
"""Raise it when the meaning of a field changes; documents of another version are left alone."""


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
    )


def _strings(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    values = fields.get(name)
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise ValueError(f"{name} is not a list of strings")
    return tuple(values)


def _numbers(fields: dict[str, Any], name: str, kind: type[_N]) -> list[_N]:
    values = fields.get(name)
    allowed = (int,) if kind is int else (int, float)
    if not isinstance(values, list) or not all(
        isinstance(one, allowed) and not isinstance(one, bool) and math.isfinite(one)
        for one in values
    ):
        raise ValueError(f"{name} is not a list of {kind.__name__}s")
    return [kind(one) for one in values]
