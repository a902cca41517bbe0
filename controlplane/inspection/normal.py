"""Takes out of two JSON forms what differs without meaning anything.

Clusters, listeners and routes come back from Envoy as they were sent. Two types do not:

- Endpoint assignments are told as they are in force, after Envoy filled in defaults: weights of 1,
  an overprovisioning factor of 140 %, the health that it sees. Health is an observation, not
  configuration, so it is left out on both sides.
- Runtime values are told as text with six digits, by flat names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from controlplane.inspection.canonical import Json

_CLOSE = 5e-6
"""What six digits round off."""


def normal(kind: str, body: Json) -> Json:
    """What is compared of a resource of this type."""
    if kind == "eds":
        return _assignment(body)
    if kind == "rtds":
        return flat_runtime(body)
    return body


def same(kind: str, intended: Json, running: Json) -> bool:
    """Whether two normal forms mean the same."""
    if kind == "rtds":
        ours, theirs = intended.get("layer", {}), running.get("layer", {})
        return ours.keys() == theirs.keys() and all(
            _same_value(ours[key], theirs[key]) for key in ours
        )
    return intended == running


def _assignment(body: Json) -> Json:
    endpoints = [_locality(one) for one in body.get("endpoints", ()) if one.get("lb_endpoints")]
    made: Json = {
        "cluster_name": body.get("cluster_name", ""),
        "endpoints": sorted(endpoints, key=lambda one: json.dumps(one["locality"], sort_keys=True)),
    }
    policy = {
        key: value
        for key, value in body.get("policy", {}).items()
        if (key, value) != ("overprovisioning_factor", 140)
    }
    if policy:
        made["policy"] = policy
    return made


def _locality(one: Json) -> Json:
    endpoints = [_endpoint(each) for each in one["lb_endpoints"]]
    made: Json = {
        "locality": {key: value for key, value in one.get("locality", {}).items() if value},
        "lb_endpoints": sorted(endpoints, key=lambda each: json.dumps(each, sort_keys=True)),
    }
    for key in ("priority", "load_balancing_weight"):
        if one.get(key):
            made[key] = one[key]
    return made


def _endpoint(one: Json) -> Json:
    made: Json = {
        **{key: value for key, value in one.get("endpoint", {}).items() if _says(value)},
        "load_balancing_weight": one.get("load_balancing_weight", 1),
    }
    if _says(one.get("metadata")):
        made["metadata"] = one["metadata"]
    return made


def _says(value: object) -> bool:
    return value not in (None, "", [], {})


def flat_runtime(body: Json) -> Json:
    """A layer by flat names, values as they are.

    >>> flat_runtime({"name": "weir", "layer": {"a": {"b": 1.0}, "c": "x"}})
    {'name': 'weir', 'layer': {'a.b': 1.0, 'c': 'x'}}
    """
    return {"name": body.get("name", ""), "layer": dict(_flat("", body.get("layer", {})))}


def _flat(prefix: str, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        found += _flat(f"{name}.", value) if isinstance(value, dict) else [(name, value)]
    return found


def _same_value(ours: object, theirs: object) -> bool:
    """
    >>> _same_value(1_000_000.0, "1e+06"), _same_value(True, "true"), _same_value("a", "b")
    (True, True, False)
    """
    if isinstance(ours, bool):
        return str(ours).lower() == str(theirs).lower()
    try:
        return math.isclose(float(str(ours)), float(str(theirs)), rel_tol=_CLOSE, abs_tol=1e-12)
    except ValueError:
        return str(ours) == str(theirs)
