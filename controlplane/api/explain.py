"""The last tick of a service as a JSON document for people, dashboards and `weir weights`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from controlplane.model import Order, Proposal, Situation, Verdict, Zone
from controlplane.model.crossing import Between


def explain(
    situation: Situation,
    proposal: Proposal,
    verdict: Verdict,
    now_s: float,
    orders: Mapping[Zone, Order] = MappingProxyType({}),
    between: Between | None = None,
) -> dict[str, Any]:
    """Observation, proposal, verdict and reasons of one service. What is unknown is null.

    `orders` are of the Backend that it is a part of, by the place of the Envoys; `between` is why
    they are so, where requests go where they take least time."""
    service, grouping, look = situation.service, verdict.grouping, situation.observation
    share_of = verdict.by_endpoint()
    estimate = situation.estimate
    believed_at = {endpoint: i for i, endpoint in enumerate(estimate.endpoints)}
    believed = {
        "capacity_rps": estimate.capacity_rps,
        "deviation": estimate.deviation,
        "base_s": estimate.base_s,
    }
    columns = {
        "rate_rps": look.rate_rps,
        "latency_s": look.latency_s,
        "latency_p99_s": look.latency_p99_s,
        "in_flight": look.in_flight,
        "error_ratio": look.error_ratio,
        "utilisation": look.utilisation,
        "age_s": look.age_s,
    }
    at = {endpoint: i for i, endpoint in enumerate(look.endpoints)}
    endpoints = [
        {
            "endpoint": endpoint,
            "group": grouping.names[int(group)],
            "share": _number(share_of[endpoint]),
            **{name: _at(values, believed_at.get(endpoint)) for name, values in believed.items()},
            **{name: _at(values, at.get(endpoint)) for name, values in columns.items()},
        }
        for endpoint, group in zip(grouping.endpoints, grouping.index, strict=True)
    ]
    same = situation.grouping.names == grouping.names
    groups = [
        {
            "group": name,
            "endpoints": int(size),
            "before": _at(situation.shares, i) if same else None,
            "base": _at(proposal.base, i) if same else None,
            "proposed": _at(proposal.shares, i) if same else None,
            "share": _at(verdict.shares, i),
            "weight": verdict.weights.by_group[i],
        }
        for i, (name, size) in enumerate(zip(grouping.names, grouping.sizes, strict=True))
    ]
    return {
        "service": service.name,
        "policy": proposal.policy,
        "digest": proposal.digest,
        "rollout": {"mode": service.rollout.mode, "percent": service.rollout.percent},
        "actuation": "groups" if grouping.by_locality else "endpoints",
        "observation": {
            "age_s": _number(now_s - look.at_s),
            "window_s": _number(look.window_s),
            "proxies": look.proxies,
            "coverage": _number(look.coverage),
            "sticky_share": _number(look.sticky_share),
        },
        "estimate": {
            "demand_rps": _number(estimate.demand_rps),
            "servers": _number(estimate.typical_servers),
            "scv": _number(estimate.scv),
        },
        "groups": groups,
        "endpoints": endpoints,
        "places": [
            {"place": str(place), "zones": list(_zones(place, order, between))}
            for place, order in orders.items()
        ],
        "between": None
        if between is None
        else {
            "mode": between.mode,
            "reasons": [{"code": one.code, "text": one.text} for one in between.reasons],
        },
        "changed": verdict.changed,
        "notes": list(proposal.notes),
        "reasons": [{"code": reason.code, "text": reason.text} for reason in verdict.reasons],
    }


def _zones(place: Zone, order: Order, between: Between | None) -> Iterator[dict[str, Any]]:
    """The zones in the order in which they serve, each with its share of those beside it, and how
    long the way there and back is, where that was measured."""
    for part in sorted(order.values(), key=lambda one: one.priority):
        beside = [one.weight or 1 for one in order.values() if one.priority == part.priority]
        share = None if part.together else (part.weight or 1) / sum(beside)
        way_s = between.ways.get((place, part.where)) if between is not None else None
        yield {
            "zone": str(part.where),
            "priority": part.priority,
            "share": _number(share),
            "way_s": _number(way_s),
        }


def _number(value: float | None) -> float | None:
    """A JSON number with six digits; NaN and infinity are not known to JSON."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _at(values: np.ndarray[Any, Any] | None, i: int | None) -> float | None:
    if values is None or i is None or i >= len(values):
        return None
    return _number(float(values[i]))
