"""Properties of the guard, for whatever hypothesis can think of.

`WEIR_GUARD_EXAMPLES` sets how many vectors the random lives are made of (5,000 by default; a
million and more: `make guard-million`).
"""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.guard import Code, check
from controlplane.guard.encode import encode
from controlplane.model import Estimate, Grouping, Observation, Proposal, Situation
from controlplane.model.observation import Floats
from tests.properties.guard_lives import live
from tests.properties.guard_promises import promise
from tests.unit.guard.cases import Life, codes, each, ids, look, service

LIVES = max(1, int(os.environ.get("WEIR_GUARD_EXAMPLES", "5000")) // 50)

anything = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf, 1e308, 5e-324]),
)
splits = st.integers(0, 2**32 - 1)
"""Seeds of a random split."""


def split(n: int, seed: int, spread: float = 1.0) -> Floats:
    return np.random.default_rng(seed).dirichlet(np.full(n, spread))


def settled(n: int, seed: int) -> Life:
    """A service some steps away from its start, with numbers that are fresh."""
    life = Life(service(n))
    for _ in range(8):
        life.ask(split(n, seed, 5.0))
    return life


@pytest.mark.parametrize("batch", range(10))
def test_no_promise_breaks_in_random_lives(batch: int) -> None:
    for seed in range(batch, LIVES, 10):
        live(seed, 50)


@settings(deadline=None)
@given(st.lists(anything, max_size=9), st.integers(1, 8), splits)
def test_no_vector_at_all_breaks_a_promise(vector: list[float], n: int, seed: int) -> None:
    life = settled(n, seed)
    before = life.memory
    proposal = Proposal(np.array(vector, dtype=np.float64), "any")
    situation = Situation(
        life.service,
        look(life.service, life.now_s + 1),
        Estimate.unknown(ids(life.service)),
        life.grouping,
        life.shares,
    )
    verdict, after = check(situation, proposal, before, life.now_s + 1)
    promise(before, situation, proposal, None, verdict, after)


@settings(deadline=None)
@given(st.integers(2, 8), splits, splits, st.lists(anything, min_size=8, max_size=8))
def test_no_observation_at_all_breaks_a_promise(
    n: int, seed: int, wish: int, numbers: list[float]
) -> None:
    life = settled(n, seed)
    before = life.memory
    values = np.array(numbers[:n])
    seen = look(life.service, life.now_s + 1)
    seen = replace(seen, succeeded=values, failed=values[::-1], latency_s=values, age_s=values)
    proposal = Proposal(split(n, wish), "any")
    situation = Situation(
        life.service, seen, Estimate.unknown(ids(life.service)), life.grouping, life.shares
    )
    verdict, after = check(situation, proposal, before, life.now_s + 1)
    promise(before, situation, proposal, None, verdict, after)


@settings(deadline=None)
@given(st.integers(1, 12), splits)
def test_standing_still_is_always_allowed(n: int, seed: int) -> None:
    life = settled(n, seed)
    assert life.memory is not None
    before = life.memory.weights
    verdict = life.ask(life.shares)
    assert not verdict.changed
    assert verdict.weights == before
    assert codes(verdict) == []


@settings(deadline=None)
@given(st.integers(1, 12), splits, splits, st.floats(0.05, 50.0))
def test_a_guard_never_makes_a_move_larger(n: int, seed: int, wish: int, spread: float) -> None:
    """Bounds replace what was asked by the nearest allowed: no further from where it stood."""
    life = settled(n, seed)
    before, asked = life.shares, split(n, wish, spread)
    after = life.ask(asked).shares
    assert ((after - before) ** 2).sum() <= ((asked - before) ** 2).sum() + 1e-9


@settings(deadline=None)
@given(st.integers(1, 12), splits, splits, st.text(min_size=1, max_size=20))
def test_frozen_is_equal_to_the_last(n: int, seed: int, wish: int, why: str) -> None:
    life = settled(n, seed)
    assert life.memory is not None
    before = life.memory.weights
    life.frozen = why
    for after_s in (1.0, 60.0, 1e6):
        verdict = life.ask(split(n, wish), after_s=after_s)
        assert verdict.weights == before
        assert not verdict.changed


@settings(deadline=None)
@given(st.integers(2, 8), splits, splits, st.permutations(range(8)))
def test_the_order_of_endpoints_does_not_matter(
    n: int, seed: int, wish: int, order: list[int]
) -> None:
    to = np.array([i for i in order if i < n])
    plain, turned = Life(service(n)), Life(service(n))
    names = tuple(ids(plain.service)[i] for i in to)
    turned.grouping = Grouping(names, names, np.arange(n), by_locality=False)
    turned.memory = None
    turned.ask(None, after_s=0.0)
    rng = np.random.default_rng(seed)
    capacity = rng.uniform(100.0, 300.0, n)
    for life, index in ((plain, np.arange(n)), (turned, to)):
        life.estimate = Estimate(life.grouping.endpoints, 0.0, capacity[index])
    for tick in range(6):
        asked = split(n, wish + tick)
        seen = look(plain.service, plain.now_s + 1)
        seen.failed[:] = np.random.default_rng(seed + tick).poisson(5.0, n)
        one = plain.ask(asked, seen)
        other = turned.ask(asked[to], seen)
        assert other.shares == pytest.approx(one.shares[to], abs=1e-12)
        assert one.changed == other.changed
        weights = np.array(one.weights.by_group)[to]
        assert np.abs(weights - np.array(other.weights.by_group)).max() <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), splits, splits, st.floats(1.0, 400.0))
def test_older_numbers_never_climb_down_the_ladder(
    n: int, seed: int, wish: int, step_s: float
) -> None:
    ladder = [None, Code.STALE, Code.DECAYING, Code.BASELINE]
    life = settled(n, seed)
    gone = Observation.unknown(life.service.name, ids(life.service))
    rungs = []
    for _ in range(12):
        said = codes(life.ask(split(n, wish), gone, after_s=step_s))
        rungs.append(next((ladder.index(code) for code in ladder[1:] if code in said), 0))
    assert rungs == sorted(rungs)


@settings(deadline=None)
@given(st.integers(2, 8), splits, splits, splits)
def test_groups_of_one_endpoint_are_guarded_as_endpoints(
    n: int, seed: int, wish: int, capacity: int
) -> None:
    of = service(n)
    singles = Grouping(ids(of), tuple(f"g{i}" for i in range(n)), np.arange(n))
    rates = np.random.default_rng(capacity).uniform(100.0, 300.0, n)
    lives = [Life(of, each(of)), Life(of, singles)]
    for tick in range(5):
        shares = []
        for life in lives:
            life.estimate = Estimate(ids(of), 0.0, rates)
            shares.append(life.ask(split(n, wish + tick, 3.0)).shares)
        assert shares[0] == pytest.approx(shares[1], abs=1e-12)


def test_a_guard_that_lets_everything_through_breaks_promises() -> None:
    """The promises can fail: a verdict that is simply the proposal does not pass them."""
    life = settled(4, 1)
    situation = Situation(
        life.service,
        look(life.service, life.now_s + 1),
        Estimate.unknown(ids(life.service)),
        life.grouping,
        life.shares,
    )
    before = life.memory
    assert before is not None
    for vector in ([1.0, 0.0, 0.0, 0.0], [0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]):
        proposal = Proposal(np.array(vector), "any")
        verdict, after = check(situation, proposal, before, life.now_s + 1)
        shares = proposal.shares
        lax = replace(verdict, shares=shares, weights=encode(shares, life.grouping), changed=True)
        with pytest.raises(AssertionError, match=r"too far a step|over|under"):
            promise(before, situation, proposal, None, lax, replace(after, weights=lax.weights))
