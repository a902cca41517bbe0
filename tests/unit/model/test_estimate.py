"""What is believed, and how fast: steady under noise, quick after a change, patient with gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.model import EndpointId, Estimate, Observation, folding
from controlplane.model.estimate import fold_all
from controlplane.model.observation import Floats
from tests.unit.decide.worlds import NAME, World, ids

UNLIKE = np.array([80.0, 80.0, 60.0, 60.0, 40.0, 40.0, 20.0, 20.0])


def shares(estimate: Estimate) -> Floats:
    relative: Floats = estimate.capacity_rps / estimate.capacity_rps.sum()
    return relative


def test_capacity_is_exact_where_endpoints_say_how_busy_they_are() -> None:
    estimate = World(UNLIKE, says=True).watched(30)
    assert estimate.capacity_rps == pytest.approx(UNLIKE, rel=0.1)


def test_relative_capacity_is_found_without_any_utilisation() -> None:
    estimate = World(UNLIKE).watched(40)
    assert shares(estimate) == pytest.approx(UNLIKE / UNLIKE.sum(), rel=0.15)


@pytest.mark.parametrize("says", [False, True])
def test_alike_endpoints_are_believed_to_be_alike_within_a_percent(says: bool) -> None:
    world = World(np.full(8, 40.0), says=says)
    estimate = world.watched(10)
    for _ in range(30):
        estimate = world.watched(1, before=estimate)
        assert np.ptp(estimate.capacity_rps) / estimate.capacity_rps.mean() < 0.1
    assert np.ptp(estimate.capacity_rps) / estimate.capacity_rps.mean() < 0.05


@pytest.mark.parametrize("says", [False, True])
def test_an_endpoint_that_turns_slow_is_believed_within_three_looks(says: bool) -> None:
    world = World(UNLIKE.copy(), says=says)
    estimate = world.watched(30)
    before = shares(estimate)
    world.capacity = UNLIKE.copy()
    world.capacity[0] /= 4.0
    for _ in range(3):
        estimate = estimate.fold(world.look(0.7 * UNLIKE))
    after = shares(estimate)
    assert after[0] < 0.45 * before[0]
    assert after[1:] / after[1:].sum() == pytest.approx(before[1:] / before[1:].sum(), rel=0.12)


def test_endpoints_whose_speed_changes_say_nothing_of_how_many_servers_they_have() -> None:
    world = World(UNLIKE.copy() * 4.0)
    estimate = world.watched(30, load=0.2)
    before = estimate.typical_servers
    for cycle in range(8):
        world.capacity[0] = UNLIKE[0] * 4.0 / (4.0 if cycle % 2 == 0 else 1.0)
        for _ in range(10):
            estimate = estimate.fold(world.look(0.2 * UNLIKE * 4.0))
    assert estimate.typical_servers > 0.6 * before


def test_the_twentieth_slowdown_is_believed_as_soon_as_the_first() -> None:
    fast, slow = np.array([200.0, 200.0, 50.0, 50.0]), np.full(4, 50.0)
    world, rate = World(fast, proxies=3), np.array([55.0, 55.0, 6.0, 6.0])
    estimate = Estimate.unknown(ids(world.service))  # type: ignore[arg-type]
    for _ in range(20):
        world.capacity = fast
        for _ in range(9):
            estimate = estimate.fold(world.look(rate))
        before = shares(estimate)[:2].sum()
        world.capacity = slow
        for _ in range(3):
            estimate = estimate.fold(world.look(rate))
        assert shares(estimate)[:2].sum() < 0.75 * before
        assert estimate.shared[folding.NOISE] < 2.0


def test_windows_that_overlap_are_not_as_many_looks() -> None:
    """Five seconds of counts told every second move the belief no faster than they may."""
    still = World(np.full(4, 80.0), seed=3)
    often = rarely = Estimate.unknown(ids(still.service))  # type: ignore[arg-type]
    window: list[Observation] = []
    for second in range(60):
        window = [*window, still.look(np.full(4, 40.0))][-5:]
        look = replace(
            window[-1],
            window_s=5.0,
            **{
                name: np.sum([getattr(one, name) for one in window], axis=0)
                for name in ("succeeded", "latency_samples")
            },
            latency_s=np.mean([one.latency_s for one in window], axis=0),
            in_flight=np.mean([one.in_flight for one in window], axis=0),
        )
        if len(window) == 5:
            often = often.fold(look)
            if second % 5 == 4:
                rarely = rarely.fold(look)
    assert often.deviation == pytest.approx(rarely.deviation, rel=0.2)


def test_looks_that_are_noisier_than_counting_are_told_by_their_spread() -> None:
    world = World(np.full(8, 200.0))
    estimate = world.watched(30, load=0.3)
    assert estimate.shared[folding.NOISE] < 1.5
    for _ in range(60):
        odd = np.exp(world.random.normal(0.0, 0.3, 8))  # beside sqrt(1/60) = 0.13 of counting
        look = world.look(np.full(8, 60.0))
        estimate = estimate.fold(replace(look, latency_s=look.latency_s * odd))
    assert estimate.shared[folding.NOISE] > 2.0


def test_no_number_of_servers_is_given_up_for_good() -> None:
    world = World(UNLIKE * 3.0, servers=1.0, says=True)
    estimate = world.watched(200, load=0.8)
    assert estimate.typical_servers < 1.5
    assert estimate.shared[folding.EVIDENCE].min() >= folding.LEAST_EVIDENCE


def test_one_odd_look_moves_little() -> None:
    world = World(UNLIKE, says=True)
    estimate = world.watched(30)
    odd = world.look(0.7 * UNLIKE)
    odd.latency_s[0] *= 6.0
    odd.in_flight[0] *= 6.0
    odd.utilisation[0] = 1.0
    odd.succeeded[0] *= 0.3
    after = estimate.fold(odd)
    assert shares(after)[0] > 0.8 * shares(estimate)[0]


def test_few_requests_move_the_belief_less_than_many() -> None:
    moved = []
    for scale in (1.0, 0.02):
        world = World(UNLIKE * scale, says=True, seed=3)
        estimate = world.watched(20)
        steps = []
        for _ in range(10):
            after = estimate.fold(world.look(0.7 * world.capacity))
            gain = after.deviation**2 / estimate.deviation**2
            steps.append(float(1.0 - gain.mean()))
            estimate = after
        moved.append(np.mean(np.abs(steps)))
        assert np.isfinite(estimate.capacity_rps).all()
    assert World(UNLIKE).watched(20).deviation.mean() < 0.3 * estimate.deviation.mean()


def test_a_look_that_says_nothing_leaves_the_belief_and_ages_it() -> None:
    world = World(UNLIKE)
    before = world.watched(20)
    blank = Observation.unknown(NAME, before.endpoints, at_s=before.at_s + 5.0)
    after = before.fold(blank)
    assert after.capacity_rps == pytest.approx(before.capacity_rps, rel=0.01)
    assert after.age_s.tolist() == [5.0] * 8
    assert (after.deviation > before.deviation).all()


def test_stale_numbers_are_not_folded_again() -> None:
    world = World(UNLIKE)
    before = world.watched(20)
    old = world.look(0.7 * UNLIKE)
    old.succeeded[:] *= 0.1
    after = before.fold(replace(old, age_s=np.full(8, 60.0)))
    assert after.capacity_rps == pytest.approx(before.capacity_rps, rel=0.01)


def test_a_look_that_is_not_newer_changes_nothing() -> None:
    world = World(UNLIKE)
    look = world.look(0.7 * UNLIKE)
    once = Estimate.unknown(look.endpoints).fold(look)
    assert once.fold(look) is once


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300])
@pytest.mark.parametrize(
    "field", ["succeeded", "failed", "in_flight", "latency_s", "latency_samples", "utilisation"]
)
def test_no_bad_number_gets_into_the_belief(field: str, bad: float) -> None:
    world = World(UNLIKE)
    estimate = world.watched(10)
    for _ in range(5):
        look = world.look(0.7 * UNLIKE)
        getattr(look, field)[2] = bad
        estimate = estimate.fold(look)
    assert np.isfinite(estimate.capacity_rps).all()
    assert (estimate.capacity_rps > 0).all()
    assert np.isfinite(estimate.demand_rps)
    others = np.delete(estimate.capacity_rps, 2)
    expected = np.delete(UNLIKE, 2)
    assert others / others.sum() == pytest.approx(expected / expected.sum(), rel=0.35)


def test_those_that_stay_keep_their_belief_and_a_new_one_gets_its_peers_mean() -> None:
    before = World(UNLIKE).watched(20)
    new = EndpointId("10.9.9.9:80")
    after = before.align((*before.endpoints[2:], new))
    assert after.capacity_rps[:6] == pytest.approx(before.capacity_rps[2:])
    mean = float(np.exp(np.log(before.capacity_rps[2:]).mean()))
    assert after.capacity_rps[6] == pytest.approx(mean)
    assert after.deviation[6] > 3 * after.deviation[:6].max()


def test_nothing_seen_is_nan_and_not_zero() -> None:
    estimate = Estimate.unknown((EndpointId("a:1"), EndpointId("b:1")))
    assert np.isnan(estimate.capacity_rps).all()
    assert np.isnan(estimate.demand_rps)


def test_what_was_declared_holds_until_it_is_measured() -> None:
    world = World(UNLIKE, says=True)
    declared = np.ones(8)
    names = ids(world.service)
    estimate = Estimate.unknown(names, declared)  # type: ignore[arg-type]
    assert estimate.declared.tolist() == [1.0] * 8
    for _ in range(30):
        estimate = estimate.fold(world.look(0.7 * UNLIKE), declared)
    assert shares(estimate) == pytest.approx(UNLIKE / UNLIKE.sum(), rel=0.15)


def test_errors_latency_and_demand_are_followed() -> None:
    world = World(UNLIKE)
    estimate = Estimate.unknown(ids(world.service))  # type: ignore[arg-type]
    for _ in range(20):
        look = world.look(0.7 * UNLIKE)
        look.failed[0] = look.succeeded[0]
        estimate = estimate.fold(look)
    assert estimate.error_ratio[0] == pytest.approx(0.5, abs=0.05)
    assert estimate.error_ratio[1:].max() < 0.01
    assert estimate.demand_rps == pytest.approx(0.7 * 400 + 0.7 * 80, rel=0.15)
    assert estimate.log_latency.shape == (3, 8)
    assert np.exp(estimate.log_latency[1, 7]) == pytest.approx(4.0 / 20.0, rel=0.5)


def test_who_is_sent_nothing_any_more_is_forgiven_and_who_does_not_answer_is_not() -> None:
    """Envoys that leave an endpoint out take its part of the share away themselves."""
    world = World(UNLIKE)
    estimate = world.watched(20)
    for _ in range(10):
        look = world.look(0.7 * UNLIKE)
        look.failed[:2], look.succeeded[:2] = 50.0, 0.0
        estimate = estimate.fold(look)
    assert estimate.error_ratio[:2].min() > 0.8
    for _ in range(15):
        look = world.look(0.7 * UNLIKE)
        look.failed[:2], look.succeeded[:2] = 0.0, 0.0
        look.in_flight[:2] = (0.0, 30.0)
        estimate = estimate.fold(look)
    assert estimate.error_ratio[0] < 0.05
    assert estimate.error_ratio[1] > 0.8
    assert estimate.capacity_rps[0] > 0.8 * estimate.capacity_rps[2]


def test_a_rise_is_forecast_to_go_on_and_a_fall_is_not_yet_believed() -> None:
    world = World(UNLIKE)
    estimate = world.watched(30, load=0.3)
    risen = world.watched(2, load=0.8, before=estimate)
    assert risen.forecast_rps > risen.demand_rps
    fallen = world.watched(2, load=0.1, before=world.watched(30, load=0.8, before=estimate))
    assert fallen.forecast_rps > fallen.demand_rps


def test_folding_many_services_is_folding_each() -> None:
    worlds = [World(UNLIKE[:k], seed=k) for k in (1, 3, 8)]
    estimates = [Estimate.unknown(ids(w.service)) for w in worlds]  # type: ignore[arg-type]
    for _ in range(8):
        looks = [w.look(0.7 * w.capacity) for w in worlds]
        together = fold_all(estimates, looks)
        alone = [e.fold(look) for e, look in zip(estimates, looks, strict=True)]
        for a, b in zip(together, alone, strict=True):
            assert np.array_equal(a.table, b.table, equal_nan=True)
            assert np.array_equal(a.shared, b.shared, equal_nan=True)
        estimates = together
