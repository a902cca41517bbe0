"""What the guard remembers of a service from one check to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from controlplane.model import Endpoint, Grouping, Handover, LastGood, Weights
from controlplane.model.observation import Floats


@dataclass(frozen=True, slots=True)
class Freshness:
    """How the numbers of a service have been coming in. Times are on the loop's clock."""

    since_s: float
    """When the service came to this process."""
    newest_s: float = -math.inf
    """When the newest numbers were taken; minus infinity before the first."""
    stamp: int = 0
    """Tells one look from the next, so that a source that repeats itself is noticed."""
    stale: bool = False
    """Numbers were had, were lost, and have not been fresh for long enough since."""
    fresh_since_s: float | None = None
    """Since when the numbers are fresh again after they were lost."""


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is in force for one service, and since when."""

    grouping: Grouping
    shares: Floats
    """(g,) in force, before rounding."""
    weights: Weights
    """In force, as they were sent."""
    freshness: Freshness
    declared: tuple[Endpoint, ...] = ()
    """The endpoints as declared at the last check; decides whether `baseline` is still right."""
    baseline: Floats | None = None
    """(n,) shares by declared capacity, or equal ones, in the order of `grouping.endpoints`."""
    by_capacity: bool = False
    """Whether `baseline` comes from declared capacities."""
    first_seen_s: Floats | None = None
    """(n,) when each endpoint came; minus infinity for those that were there from the start."""
    pushed_s: float = -math.inf
    """When a verdict last changed what is in force."""
    regrouped_s: float = -math.inf
    """When endpoints last changed their groups."""
    checked_s: float = -math.inf
    """When the guard was last asked."""
    given_rps: Floats | None = None
    """(n,) successes at each endpoint, smoothed: how Envoy itself divides a group."""
    announced: bool = field(default=False)
    """Whether this process has already let through what is in force."""


def resumed(last: LastGood, now_s: float) -> Memory:
    """The memory of a service whose last good state was stored by an earlier process.

    The first verdict is then exactly what was stored, or, where endpoints came or went since, its
    nearest likeness; and the ladder of staleness begins anew.
    """
    return Memory(last.grouping, last.shares, last.weights, Freshness(since_s=now_s))


def begun(memory: Memory, now_s: float) -> Memory:
    """The memory of whoever begins to decide: the ladder of staleness begins anew."""
    return replace(memory, freshness=Freshness(since_s=now_s))


def handed(one: Handover, before: Memory | None, now_s: float) -> Memory:
    """The memory of a service that another replica decides about, as that replica has it.

    The next verdict is exactly what was handed over, as long as nothing else is to move. Whether
    its numbers are fresh everybody finds for himself. `before` is what is in force here.
    """
    last = one.last
    same = (
        before is not None
        and before.announced
        and before.weights == last.weights
        and before.grouping.same_as(last.grouping)
    )
    if before is not None and same and np.array_equal(before.shares, last.shares):
        return replace(
            before,
            first_seen_s=one.first_seen_s,
            pushed_s=one.pushed_s,
            regrouped_s=one.regrouped_s,
        )
    return Memory(
        last.grouping,
        last.shares,
        last.weights,
        Freshness(since_s=now_s),
        first_seen_s=one.first_seen_s,
        pushed_s=one.pushed_s,
        regrouped_s=one.regrouped_s,
    )
