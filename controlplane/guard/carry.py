"""What is in force, carried over to the endpoints and groups of now.

Those that stay keep their relation to each other, those that went give up their part, those that
came enter low. This much is forced by whoever declares endpoints; everything else is a step.

A group that is divided hands on what its endpoints really got, not equal parts: inside a group
Envoy's full scan gives the fast ones more, and equal weights for its halves would flood the slow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from controlplane.guard.capacity import baseline
from controlplane.guard.memory import Memory
from controlplane.guard.reasons import Code
from controlplane.model import Grouping, Observation, Reason, Service
from controlplane.model.observation import Floats

LEAST = 0.1
"""Of the mean of its group an endpoint is taken to be given at least about this part."""
MOST_RPS = 1e9
"""No endpoint serves more than this; a number above it is a broken one."""


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a service stands before anything is decided."""

    grouping: Grouping
    shares: Floats
    """(g,) in force, on the groups of now."""
    baseline: Floats
    """(n,) by declared capacity, or equal."""
    by_capacity: bool
    first_seen_s: Floats
    """(n,)"""
    reasons: tuple[Reason, ...] = ()
    forced: bool = False
    """Endpoints came or went, so that a push cannot be avoided."""
    regrouped: bool = False
    """The same endpoints, grouped in another way."""


def stand(
    memory: Memory | None,
    service: Service,
    wanted: Grouping,
    now_s: float,
    *,
    still: bool = False,
    may_regroup: bool = True,
) -> Standing:
    """Carry `memory` to the declared endpoints, in the wanted grouping where that is possible.

    `still`: nothing else is to move. Then endpoints keep their groups, and new ones enter with
    their full part, as no ramp could lift them. `may_regroup`: whether the numbers that a new
    grouping rests on are good.
    """
    if memory is not None and _undisturbed(memory, service, wanted):
        assert memory.baseline is not None
        assert memory.first_seen_s is not None
        return Standing(
            memory.grouping, memory.shares, memory.baseline, memory.by_capacity, memory.first_seen_s
        )
    declared = {endpoint.id for endpoint in service.endpoints}
    grouping, reasons = wanted, list[Reason]()
    if len(wanted.endpoints) != len(declared) or set(wanted.endpoints) != declared:
        grouping = _one_group(service, wanted.by_locality)
        text = "the wanted groups are not of the declared endpoints: replaced by the simplest ones"
        reasons.append(Reason(Code.GROUPING, text))
    if memory is None:
        even, by_capacity = baseline(service.endpoints, grouping.endpoints)
        old = np.full(len(even), -math.inf)
        return Standing(
            grouping, grouping.total(even), even, by_capacity, old, tuple(reasons), forced=True
        )
    forced = set(memory.grouping.endpoints) != declared
    if not forced and not memory.grouping.same_as(grouping):
        # One group is what Envoy does alone: no reason to wait with that.
        rest_s = service.guard.regroup_s if len(grouping.names) > 1 else 0.0
        wait_s = memory.regrouped_s + rest_s - now_s
        if still or not may_regroup or not memory.announced or wait_s > 0:
            grouping = memory.grouping
            if wait_s > 0 and may_regroup and not still:
                text = f"endpoints change their groups again in {wait_s:.1f} s at the earliest"
                reasons.append(Reason(Code.SPACED, text))
    even, by_capacity = baseline(service.endpoints, grouping.endpoints)
    shares, first_seen_s, change = _carry(memory, grouping, even, service, now_s, still)
    reasons += [change] if change is not None else []
    regrouped = not forced and not grouping.same_as(memory.grouping)
    if regrouped:
        text = f"the same endpoints in {len(grouping.names)} groups: {', '.join(grouping.names)}"
        reasons.append(Reason(Code.REGROUPED, text[:200]))
    return Standing(
        grouping, shares, even, by_capacity, first_seen_s, tuple(reasons), forced, regrouped
    )


def _undisturbed(memory: Memory, service: Service, wanted: Grouping) -> bool:
    return (
        memory.announced
        and (memory.declared is service.endpoints or memory.declared == service.endpoints)
        and (memory.grouping is wanted or memory.grouping.same_as(wanted))
    )


def _carry(
    memory: Memory, grouping: Grouping, even: Floats, service: Service, now_s: float,
    still: bool,
) -> tuple[Floats, Floats, Reason | None]:  # fmt: skip
    """(g,) shares and (n,) times on `grouping`, and what endpoints came or went."""
    old = memory.grouping
    if old.endpoints == grouping.endpoints and old.same_as(grouping):
        seen = memory.first_seen_s
        return memory.shares, np.full(len(even), -math.inf) if seen is None else seen, None
    each = memory.shares[old.index] * _inside(memory)
    had = dict(zip(old.endpoints, each.tolist(), strict=True))
    parts = np.array([had.get(one, math.nan) for one in grouping.endpoints], dtype=np.float64)
    came = np.isnan(parts)
    seen = memory.first_seen_s if memory.first_seen_s is not None else np.full(len(each), -math.inf)
    since = dict(zip(old.endpoints, seen.tolist(), strict=True))
    first_seen_s = np.array(
        [since.get(one, -math.inf if still else now_s) for one in grouping.endpoints],
        dtype=np.float64,
    )
    if came.all():  # nothing to compare with, and somebody has to carry the traffic
        first_seen_s = np.full(len(even), -math.inf)
        parts = even
    else:
        parts = np.where(came, even * (1.0 if still else service.guard.min_ratio), parts)
        parts[~came] *= (1.0 - parts[came].sum()) / parts[~came].sum()
    gone = len(old.endpoints) - int(np.count_nonzero(~came))
    change = None
    if came.any() or gone:
        text = (
            f"{np.count_nonzero(came)} endpoints came, {gone} went; what stays keeps its relation"
        )
        change = Reason(Code.ENDPOINTS, text)
    return grouping.total(parts), first_seen_s, change


def given_rps(memory: Memory, look: Observation) -> Floats | None:
    """(n,) what each endpoint of the memory is given, after one more look."""
    if look.endpoints != memory.grouping.endpoints or not look.window_s > 0.0:
        return memory.given_rps
    rate = look.succeeded / look.window_s
    if not np.all((rate >= 0.0) & (rate < MOST_RPS)):  # also where any is NaN
        return memory.given_rps
    return rate if memory.given_rps is None else 0.5 * (memory.given_rps + rate)


def _inside(memory: Memory) -> Floats:
    """(n,) the part of its group's traffic that each endpoint has."""
    old, given = memory.grouping, memory.given_rps
    equal = 1.0 / old.sizes[old.index]
    if given is None or not old.by_locality:
        return equal
    mean = (old.total(given) / old.sizes)[old.index]
    # A little for each, so that one that was given nothing for a moment can still come back.
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = (given + LEAST * mean) / ((1.0 + LEAST) * mean) * equal
    return np.where(mean > 0.0, parts, equal)


def _one_group(service: Service, by_locality: bool) -> Grouping:
    ids = tuple(endpoint.id for endpoint in service.endpoints)
    if by_locality:
        return Grouping(ids, ("all",) if ids else (), np.zeros(len(ids), dtype=np.intp))
    return Grouping(ids, tuple(ids), np.arange(len(ids)), by_locality=False)
