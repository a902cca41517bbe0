from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from controlplane.guard import Code
from controlplane.model import Estimate, GuardSettings, Verdict, folding
from tests.unit.guard.cases import (
    Life,
    codes,
    each,
    grouped,
    ids,
    look,
    service,
    text_of,
    with_errors,
)

FAST_SLOW = [400.0, 400.0, 100.0, 100.0]


def settled(rate: float, wanted: list[float], guard: GuardSettings | None = None) -> Life:
    """Two fast and two slow endpoints in two groups, `rate` requests/s for each of the four."""
    of = service(4, guard=guard)
    life = Life(of, grouped(of, 0, 0, 1, 1))
    life.estimate = Estimate(ids(of), 0.0, np.array(FAST_SLOW))
    for _ in range(20):
        life.ask(wanted, look(of, life.now_s + 1, rate=rate))
    return life


def test_at_a_low_load_the_fast_class_may_have_nearly_everything() -> None:
    assert settled(60.0, [0.95, 0.05]).shares == pytest.approx([0.95, 0.05], abs=0.01)


def test_at_a_third_of_the_load_three_times_as_much_must_not_flood_the_fast_class() -> None:
    life = settled(83.0, [0.99, 0.01])
    assert life.shares[0] == pytest.approx(0.8 * 1.15, abs=0.02)
    crowd_rps = 3 * 4 * 83.0
    assert crowd_rps * life.shares[0] <= 800.0 * 1.15 * 1.03
    verdict = life.ask([0.99, 0.01], look(life.service, life.now_s + 1, rate=83.0))
    assert "at 3 times the 331 requests/s to expect" in text_of(verdict, Code.CROWD)
    assert "a would be flooded" in text_of(verdict, Code.CROWD)


def quiet(servers: float | None) -> Life:
    """Two classes of endpoints at 20 % of what four servers each can do, all wanted for the fast.

    What is in flight is Little's law for it; `servers` None: nobody says how many work on it."""
    of = service(4)
    life = Life(of, grouped(of, 0, 0, 1, 1))
    life.estimate = Estimate.unknown(ids(of))
    rates = np.array([60.0, 60.0, 20.0, 20.0])
    busy = np.array([0.25, 0.25, 0.2, 0.2])
    for _ in range(60):
        seen = look(of, life.now_s + 1)
        seen.succeeded[:] = np.round(rates * (1.0 + 0.01 * np.sin(life.now_s + np.arange(4))))
        seen.latency_s[:] = 4 * busy / rates
        seen.latency_samples[:] = rates
        seen.in_flight[:] = 4 * busy
        seen.utilisation[:] = busy if servers else np.nan
        life.estimate = life.estimate.fold(seen)
        life.ask([0.98, 0.02], seen)
    return life


def test_what_a_quiet_service_does_not_show_is_not_counted_on() -> None:
    """With nothing said of how busy they are, fewer servers are as likely, and less is let go."""
    told, untold = quiet(4.0), quiet(None)
    assert told.estimate is not None
    assert untold.estimate is not None
    assert told.estimate.busier == 1.0
    assert untold.estimate.busier > 1.2
    able_rps = untold.estimate.capacity_rps.sum() / untold.estimate.busier
    fast = untold.estimate.capacity_rps[:2].sum() / untold.estimate.capacity_rps.sum()
    allowed = max(1.15, able_rps / (3 * 160.0)) * fast
    assert untold.shares[0] == pytest.approx(min(allowed, 0.98), abs=0.03)
    bare = able_rps * untold.estimate.busier / (3 * 160.0) * fast
    assert bare > untold.shares[0] + 0.03


def with_a_slow_one(wanted: list[float], *, rate: float) -> Life:
    """Four alike, of which the last has been 20 times slower for twelve looks."""
    of = service(4)
    life = Life(of)
    life.estimate = Estimate(ids(of), 0.0, np.full(4, 100.0))
    for _ in range(12):
        seen = look(of, life.now_s + 1, rate=rate)
        seen.latency_s[3] *= 20
        life.ask(wanted, seen)
    return life


def crowded(wanted: list[float], *, rate: float, busier: float = 1.0) -> Verdict:
    """The fast class has 95 %, then `rate` requests/s for each endpoint come at once."""
    life = settled(40.0, [0.95, 0.05])
    assert life.shares[0] == pytest.approx(0.95, abs=0.02)
    if busier > 1.0:
        assert life.estimate is not None
        life.estimate = guessed(life.estimate, busier)
    return life.ask(wanted, look(life.service, life.now_s + 1, rate=rate))


def guessed(of: Estimate, busier: float) -> Estimate:
    """The same, with so much doubt about how many servers there are."""
    apart = np.linspace(-np.log(8.0), np.log(8.0), folding.HYPOTHESES)
    table, shared = of.table.copy(), of.shared.copy()
    table[folding.LEVEL] = np.log(of.capacity_rps) + apart[:, None]
    table[folding.SAID_AGE] = np.inf
    shared[[folding.DEMAND, folding.DEMAND_SLOW]] = 160.0
    made = replace(of, table=table, shared=shared)
    assert made.busier > busier
    return made


def test_who_is_flooded_is_left_at_once_as_far_as_the_capacity_shares() -> None:
    verdict = crowded([0.7, 0.3], rate=220.0)
    assert verdict.shares == pytest.approx([0.8, 0.2])
    assert "a would be flooded" in text_of(verdict, Code.RELIEVED)
    verdict = crowded([0.85, 0.15], rate=220.0)
    assert verdict.shares == pytest.approx([0.85, 0.15])


@pytest.mark.parametrize(("rate", "left"), [(160.0, False), (180.0, True)])
def test_flooded_is_who_is_given_more_than_eight_tenths_of_its_capacity(
    rate: float, left: bool
) -> None:
    """.95 of 4 x 160 or 180 requests/s is .76 or .855 of 800."""
    verdict = crowded([0.7, 0.3], rate=rate)
    assert (Code.RELIEVED in codes(verdict)) == left
    if not left:
        assert verdict.shares[1] == pytest.approx(0.05 * 1.25, abs=0.01)


def test_a_capacity_that_is_a_guess_is_full_earlier() -> None:
    assert Code.RELIEVED in codes(crowded([0.7, 0.3], rate=130.0, busier=1.5))
    assert Code.RELIEVED not in codes(crowded([0.7, 0.3], rate=130.0))


def test_who_is_near_its_part_is_left_by_steps_however_flooded() -> None:
    """A belief that moves must not move all of the traffic with it."""
    life = settled(175.0, [0.8, 0.2])
    assert life.estimate is not None
    swings = ([404.0, 404.0, 96.0, 96.0], [396.0, 396.0, 104.0, 104.0])
    for tick in range(8):
        life.estimate = replace(life.estimate, capacity_rps=np.array(swings[tick % 2]))
        before, wish = life.shares, life.estimate.capacity_rps[:2].sum() / 1000.0
        verdict = life.ask([wish, 1 - wish], look(life.service, life.now_s + 1, rate=220.0))
        assert Code.RELIEVED not in codes(verdict)
        assert (verdict.shares <= before * 1.25 + 1e-9).all()


def test_away_from_the_capacity_shares_it_goes_by_steps_however_flooded() -> None:
    life = settled(220.0, [0.8, 0.2], GuardSettings(crowd_slack=2.0))
    before = life.shares
    verdict = life.ask([0.5, 0.5], look(life.service, life.now_s + 1, rate=220.0))
    assert verdict.shares[1] == pytest.approx(before[1] * 1.25)
    assert Code.RELIEVED not in codes(verdict)


def test_what_a_sick_group_gives_up_the_idle_take_at_once() -> None:
    life = settled(40.0, [0.95, 0.05])
    seen = look(life.service, life.now_s + 1, rate=40.0)
    seen.latency_s[:2] *= 10
    verdict = life.ask([0.7, 0.3], seen)
    assert verdict.shares == pytest.approx([0.8, 0.2])
    assert {Code.SICK, Code.RELIEVED} <= set(codes(verdict))


def test_nobody_who_is_sick_or_failing_takes_more_than_a_step() -> None:
    life = settled(40.0, [0.95, 0.05])
    for trouble in ("slow", "failing"):
        seen = look(life.service, life.now_s + 1, rate=220.0)
        if trouble == "slow":
            seen.latency_s[2:] *= 10
        else:
            seen = with_errors(seen, 0, 0, 110, 110)
        before = life.shares
        verdict = life.ask([0.8, 0.2], seen)
        assert verdict.shares[1] <= before[1] * 1.25 + 1e-9


def test_who_is_not_heard_of_takes_no_more_than_a_step() -> None:
    life = with_a_slow_one([0.32, 0.32, 0.32, 0.04], rate=80.0)
    of, before = life.service, life.shares
    assert before[3] < 0.08
    seen = look(of, life.now_s + 1, rate=100.0)
    for values in (seen.succeeded, seen.failed, seen.latency_s):
        values[3] = np.nan
    verdict = life.ask([0.3333, 0.3333, 0.3333, 0.0001], seen)
    assert Code.FILLED in codes(verdict)
    assert verdict.shares[3] <= before[3] * 1.25 + 1e-9


def test_new_endpoints_ramp_however_busy_the_others_are() -> None:
    life = Life(service(4))
    life.estimate = Estimate(ids(life.service), 0.0, np.full(4, 100.0))
    for _ in range(12):
        life.ask(None, look(life.service, life.now_s + 1, rate=90.0))
    life.service = service(8)
    life.grouping = each(life.service)
    life.estimate = Estimate(ids(life.service), 0.0, np.full(8, 100.0))
    came = []
    for _ in range(5):
        verdict = life.ask(np.full(8, 0.125), look(life.service, life.now_s + 1, rate=45.0))
        assert Code.RELIEVED not in codes(verdict)
        came.append(float(verdict.shares[4:].sum()))
    assert came[0] <= 0.13
    assert all(later <= now * 1.3 for now, later in itertools.pairwise(came))


def test_the_refuge_is_what_is_believed_whatever_is_declared() -> None:
    """Half and half is declared, but the second class can do a fifth."""
    of = service(4, capacity=[1.0, 1.0, 1.0, 1.0])
    life = Life(of, grouped(of, 0, 0, 1, 1))
    life.estimate = Estimate(ids(of), 0.0, np.array(FAST_SLOW))
    for _ in range(20):
        life.ask([0.8, 0.2], look(of, life.now_s + 1, rate=175.0))
    seen = look(of, life.now_s + 1, rate=175.0)
    seen.latency_s[:2] *= 10
    before = life.shares
    verdict = life.ask([0.4, 0.6], seen)
    assert verdict.shares[1] <= before[1] * 1.25 + 1e-9


def test_numbers_that_are_doubted_relieve_nobody() -> None:
    life = settled(40.0, [0.95, 0.05])
    before = life.shares
    seen = replace(look(life.service, life.now_s + 1, rate=220.0), coverage=0.2)
    verdict = life.ask([0.7, 0.3], seen)
    assert verdict.shares == pytest.approx(before)
    assert Code.RELIEVED not in codes(verdict)


def test_the_ceiling_is_by_the_load_to_expect_and_not_by_the_count_of_one_look() -> None:
    life = settled(60.0, [0.95, 0.05])
    assert life.estimate is not None
    shared = life.estimate.shared.copy()
    shared[[folding.DEMAND, folding.DEMAND_SLOW]] = 320.0
    life.estimate = replace(life.estimate, shared=shared)
    verdict = life.ask([0.99, 0.01], look(life.service, life.now_s + 1, rate=60.0))
    assert "320 requests/s to expect" in text_of(verdict, Code.CROWD)
    shared[[folding.DEMAND, folding.DEMAND_SLOW]] = 0.0  # nothing was expected
    life.estimate = replace(life.estimate, shared=shared)
    verdict = life.ask([0.99, 0.01], look(life.service, life.now_s + 1, rate=100.0))
    assert "399 requests/s to expect" in text_of(verdict, Code.CROWD)


def test_without_estimates_there_is_nothing_to_reckon_with() -> None:
    of = service(4)
    life = Life(of, grouped(of, 0, 0, 1, 1))
    assert Code.CROWD not in codes(life.ask([0.9, 0.1]))


def test_what_a_sick_endpoint_gives_up_others_may_take_over() -> None:
    life = with_a_slow_one([0.3, 0.3, 0.3, 0.1], rate=60.0)
    assert life.shares[3] == pytest.approx(0.1, abs=0.02)


def test_an_absurd_estimate_is_not_believed() -> None:
    of = service(4)
    life = Life(of)
    life.estimate = Estimate(ids(of), 0.0, np.array([1e12, 100.0, 100.0, np.nan]))
    for _ in range(40):
        life.ask([1.0, 0.0, 0.0, 0.0], look(of, life.now_s + 1, rate=10.0))
    assert life.shares[1:].min() > 0.0005
    assert life.shares.sum() == pytest.approx(1.0)
