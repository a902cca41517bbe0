"""How a service stands, as it travels from one replica to another. Reading believes nothing."""

from __future__ import annotations

import math

import numpy as np

from controlplane.model import EndpointId, Estimate, Grouping, Handover, Reason, folding
from controlplane.model.observation import Floats
from controlplane.replicas.messages import Groups, State
from controlplane.store.document import from_text, to_text

MOST_REASONS = 20
MOST_CHARACTERS = 200
"""Of a reason."""


def state(one: Handover, now_s: float) -> State:
    """`now_s` is on the clock of the handover."""
    last, estimate = one.last, one.estimate
    grouping = last.grouping
    same_order = estimate.endpoints == grouping.endpoints
    return State(
        service=last.service,
        saved_at=last.saved_at,
        document=to_text(last),
        arrived_s=_bytes(now_s - one.first_seen_s),
        pushed_s=now_s - one.pushed_s,
        regrouped_s=now_s - one.regrouped_s,
        endpoints=() if same_order else estimate.endpoints,
        looked_s=now_s - estimate.at_s,
        table=_bytes(estimate.table),
        shared=_bytes(estimate.shared),
        wanted=None if one.wanted.same_as(grouping) else _groups(one.wanted),
        wanted_s=now_s - one.wanted_since_s,
        seen_enough=one.seen_enough,
        reasons=tuple(
            (reason.code, reason.text[:MOST_CHARACTERS]) for reason in one.reasons[:MOST_REASONS]
        ),
    )


def handover(of: State, now_s: float) -> Handover:
    """The same here, on the clock of `now_s`. Raises `ValueError` that says what is wrong."""
    last = from_text(of.service, of.document, of.saved_at)
    endpoints = tuple(map(EndpointId, of.endpoints)) or last.grouping.endpoints
    return Handover(
        last,
        first_seen_s=now_s - _ages(of.arrived_s, len(last.grouping.endpoints)),
        pushed_s=now_s - _age(of.pushed_s),
        regrouped_s=now_s - _age(of.regrouped_s),
        estimate=_estimate(of, endpoints, now_s),
        wanted=last.grouping if of.wanted is None else _grouping(of.wanted),
        wanted_since_s=now_s - _age(of.wanted_s),
        seen_enough=of.seen_enough,
        reasons=tuple(Reason(code, text) for code, text in of.reasons),
    )


def _estimate(of: State, endpoints: tuple[EndpointId, ...], now_s: float) -> Estimate:
    """Another release may believe other things: then nothing is."""
    shape = (folding.ROWS, len(endpoints))
    if len(of.table) != 8 * shape[0] * shape[1] or len(of.shared) != 8 * folding.SHARED:
        return Estimate.unknown(endpoints)
    table = _floats(of.table).reshape(shape)
    shared = _floats(of.shared)
    at_s = now_s - _age(of.looked_s)
    return Estimate(endpoints, at_s, table[folding.CAPACITY], table, shared)


def _groups(grouping: Grouping) -> Groups:
    index = tuple(grouping.index.tolist())
    return Groups(grouping.endpoints, grouping.names, index, grouping.by_locality)


def _grouping(of: Groups) -> Grouping:
    if any(not 0 <= group < len(of.names) for group in of.index):
        raise ValueError("an endpoint is in a group that there is not")
    endpoints = tuple(map(EndpointId, of.endpoints))
    return Grouping(endpoints, of.names, np.array(of.index, dtype=np.intp), of.by_locality)


def _ages(raw: bytes, n: int) -> Floats:
    if len(raw) != 8 * n:
        raise ValueError(f"{n} endpoints, and {len(raw)} bytes of ages")
    ages = _floats(raw)
    return np.where(ages >= 0.0, ages, math.inf)  # also where it is NaN


def _age(seconds: float) -> float:
    """From the start, where it makes no sense."""
    return seconds if seconds >= 0.0 else math.inf


def _bytes(values: Floats) -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def _floats(raw: bytes) -> Floats:
    return np.frombuffer(raw, dtype="<f8").astype(np.float64)
