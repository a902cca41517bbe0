"""Properties of the guard between zones, for whatever hypothesis can think of.

What is promised is worked out again in plain loops (`takes`), so that a mistake would have to be
made twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane.guard import Code, check_zones
from controlplane.guard.zones import FAILING_MOST, RISE, STEP
from controlplane.model import (
    Endpoint,
    Estimate,
    Grouping,
    Observation,
    Service,
    ServiceName,
    Situation,
    Zone,
)
from controlplane.model.crossing import Crossing
from controlplane.model.observation import Floats

EPS = 1e-7
NOW_S = 100.0
SLACK = 1.15
"""The default of `crowdSlack`."""
EACH = 2
"""Endpoints of a zone."""

anything = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf, 1e308, 5e-324]),
)


@dataclass(frozen=True)
class World:
    """Places, zones, and what is known of them."""

    seed: int
    places: int
    zones: int
    declared: bool
    load: float
    failing: int | None = None

    def rows(self, random: np.random.Generator) -> Floats:
        return random.dirichlet(np.full(self.zones, 0.5), self.places)

    def crossing(self) -> Crossing:
        n, wide, random = EACH * self.zones, 4.0, np.random.default_rng(self.seed)
        capacity = random.uniform(1.0, wide, n) * 100.0
        zone = np.repeat(np.arange(self.zones), EACH)
        names = tuple(Zone("r", f"z{i}") for i in range(self.zones))
        declared = random.uniform(1.0, wide, n)
        endpoints = tuple(
            Endpoint(
                f"10.0.{i}.1",
                80,
                names[zone[i]],
                {"weir.dev/capacity": str(declared[i])} if self.declared else {},
            )
            for i in range(n)
        )
        ids = tuple(one.id for one in endpoints)
        ended = self.load * capacity
        fails = (zone == self.failing) * 0.8 if self.failing is not None else np.zeros(n)
        look = replace(
            Observation.unknown(ServiceName("default/web@z"), ids, NOW_S),
            window_s=1.0,
            succeeded=ended * (1.0 - fails),
            failed=ended * fails,
            latency_s=np.full(n, 0.05),
            latency_samples=ended,
            age_s=np.zeros(n),
            coverage=1.0,
            proxies=4,
        )
        grouping = Grouping(ids, tuple(map(str, names)), zone)
        service = Service(ServiceName("default/web@z"), endpoints)
        even = np.full(self.zones, 1.0 / self.zones)
        whole = Situation(service, look, Estimate(ids, NOW_S, capacity), grouping, even)
        places = tuple(Zone(f"p{i}") for i in range(self.places))
        traffic = random.uniform(0.0, 1.0, self.places) ** 2
        wanted, before, baseline = (self.rows(random) for _ in range(3))
        return Crossing(places, whole, endpoints, traffic, wanted, before, baseline)


worlds = st.builds(
    World,
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
    st.floats(0.01, 1.2),
)


def takes(crossing: Crossing) -> list[float]:
    """The part of all requests that each zone takes when the load rises by half."""
    whole = crossing.whole
    believed, said = [0.0] * len(whole.grouping.names), [0.0] * len(whole.grouping.names)
    for i, z in enumerate(whole.grouping.index.tolist()):
        believed[z] += float(whole.estimate.capacity_rps[i])
        said[z] += crossing.declared[i].capacity or 0.0
    if sum(said):
        scale = sum(believed) / sum(said)
        believed = [min(b, scale * s) for b, s in zip(believed, said, strict=True)]
    rate = float(whole.observation.succeeded.sum() + whole.observation.failed.sum())
    return [min(1.0, max(b / (RISE * rate), SLACK * b / sum(believed))) for b in believed]


def loads(crossing: Crossing, shares: Floats) -> list[float]:
    asked = crossing.traffic.tolist()
    total = sum(asked)
    parts = [one / total for one in asked] if total > 0.0 else [1.0 / len(asked)] * len(asked)
    return [
        sum(part * row[z] for part, row in zip(parts, shares.tolist(), strict=True))
        for z in range(shares.shape[1])
    ]


def split(shares: Floats, crossing: Crossing) -> None:
    assert shares.shape == crossing.before.shape
    assert np.isfinite(shares).all()
    assert shares.min() >= -EPS
    assert np.abs(shares.sum(axis=1) - 1.0).max() <= EPS


@settings(deadline=None)
@example(World(3, 3, 3, False, 0.4375))  # each place by a step of its own
@given(worlds)
def test_no_zone_is_brought_beyond_what_it_takes_when_the_load_rises_by_half(world: World) -> None:
    crossing = world.crossing()
    allowed = check_zones(crossing, NOW_S)
    split(allowed.shares, crossing)
    before, after = loads(crossing, crossing.before), loads(crossing, allowed.shares)
    for was, now, most in zip(before, after, takes(crossing), strict=True):
        assert now <= max(was, most) + EPS
    if any(was > most + EPS for was, most in zip(before, takes(crossing), strict=True)):
        for now, most in zip(after, takes(crossing), strict=True):
            assert now <= most + EPS, "a flooded zone does not wait for steps"


@settings(deadline=None)
@given(worlds)
def test_a_place_moves_by_a_step_unless_a_zone_is_flooded_and_says_why(world: World) -> None:
    crossing = world.crossing()
    allowed = check_zones(crossing, NOW_S)
    moved = 0.5 * np.abs(allowed.shares - crossing.before).sum(axis=1)
    flooded = any(
        was > most - EPS
        for was, most in zip(loads(crossing, crossing.before), takes(crossing), strict=True)
    )
    assert flooded or moved.max() <= STEP + EPS
    if np.abs(allowed.shares - crossing.wanted).max() > 1e-6:
        assert {one.code for one in allowed.reasons} & {Code.CROWD, Code.STEPPED}
    assert all(one.text for one in allowed.reasons)


@settings(deadline=None)
@given(worlds, st.integers(0, 3))
def test_a_zone_that_fails_is_given_no_more_and_in_the_end_not_most(
    world: World, failing: int
) -> None:
    zones = max(2, world.zones)
    z = failing % zones
    # With fewer requests than these a handful of failures proves nothing.
    crossing = replace(world, zones=zones, failing=z, load=max(world.load, 0.1)).crossing()
    for _ in range(12):
        allowed = check_zones(crossing, NOW_S)
        split(allowed.shares, crossing)
        assert (allowed.shares[:, z] <= crossing.before[:, z] + EPS).all()
        assert (allowed.shares[:, z] < 1.0).all()
        crossing = replace(crossing, before=allowed.shares)
    assert (crossing.before[:, z] <= FAILING_MOST + EPS).all()


@settings(deadline=None)
@given(worlds, st.lists(anything, min_size=16, max_size=16))
def test_no_wish_at_all_breaks_a_split(world: World, numbers: list[float]) -> None:
    crossing = world.crossing()
    wanted = np.resize(np.array(numbers), crossing.before.shape)
    crossing = replace(crossing, wanted=wanted)
    allowed = check_zones(crossing, NOW_S)
    split(allowed.shares, crossing)
    if not np.isfinite(wanted).all() or wanted.min() < 0.0:
        assert np.array_equal(allowed.shares, crossing.before)
        assert [one.code for one in allowed.reasons] == [Code.REFUSED]


@settings(deadline=None)
@given(worlds, st.lists(anything, min_size=8, max_size=8))
def test_no_numbers_at_all_break_a_split(world: World, numbers: list[float]) -> None:
    crossing = world.crossing()
    n = EACH * world.zones
    values = np.array(numbers[:n])
    look = replace(
        crossing.whole.observation, succeeded=values, failed=values[::-1], latency_s=values
    )
    estimate = Estimate(look.endpoints, NOW_S, values)
    whole = replace(crossing.whole, observation=look, estimate=estimate)
    traffic = np.resize(values, world.places)
    with np.errstate(all="ignore"):
        allowed = check_zones(replace(crossing, whole=whole, traffic=traffic), NOW_S)
    split(allowed.shares, crossing)


@settings(deadline=None)
@given(worlds, st.floats(3.0, 170.0))
def test_old_numbers_move_nothing_and_very_old_ones_lead_to_the_baseline(
    world: World, age_s: float
) -> None:
    crossing = world.crossing()
    allowed = check_zones(crossing, NOW_S + age_s)
    assert np.array_equal(allowed.shares, crossing.before)
    assert [one.code for one in allowed.reasons] == [Code.STALE]
    for _ in range(5):
        allowed = check_zones(crossing, NOW_S + 1000.0)
        crossing = replace(crossing, before=allowed.shares)
    assert np.abs(allowed.shares - crossing.baseline).max() <= EPS
