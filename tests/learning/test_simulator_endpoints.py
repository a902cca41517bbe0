"""Endpoints, regions, classes, arrivals and telemetry of the simulator, against theory."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.simulator import (
    Algorithm,
    Balancing,
    Case,
    Law,
    Mmpp,
    RequestClass,
    Simulation,
    Station,
    Steps,
    Trace,
    Traffic,
    Work,
    endpoint_id,
    one_group,
)
from tests.learning.test_simulator_theory import erlang_c

pytestmark = pytest.mark.learning


def one(station: Station, rate: float, requests: int = 400_000, **changes: object) -> Case:
    made = Case(
        "endpoints",
        (station,),
        Traffic(Steps.of(rate)),
        Work(1.0),
        proxies=1,
        duration_s=requests / rate,
        timeout_s=math.inf,
        queue_limit=5000,
        balancing=Balancing(Algorithm.FULL_SCAN, eject_after=0),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def mean_s(case: Case, seed: int = 5) -> float:
    run = Simulation(case, seed)
    run.advance(0.1 * case.duration_s)
    run.outcome()
    run.advance(case.duration_s)
    return run.outcome().mean_s


@pytest.mark.parametrize(
    "work",
    [
        Work(1.0),
        Work(1.0, Law.DETERMINISTIC),
        Work(1.0, Law.HYPEREXPONENTIAL, 4.0),
        Work(1.0, Law.BIMODAL, 1.5),
    ],
    ids=lambda w: str(w.law),
)
def test_the_mean_of_processor_sharing_does_not_depend_on_the_law(work: Work) -> None:
    # M/G/1-PS: 1 / (1 - rho) for every law of this mean (Kleinrock, volume 2, section 4.4).
    case = one(Station(1, sharing=True), 0.7, work=work)
    assert mean_s(case) == pytest.approx(1.0 / 0.3, rel=0.04)


def test_processor_sharing_slows_every_request_by_the_same_factor() -> None:
    # M/G/1-PS: a request of work x takes x / (1 - rho) in the mean.
    classes = (RequestClass("small", 0.8, 0.5), RequestClass("large", 0.2, 3.0))
    case = one(Station(1, sharing=True), 0.7, work=Work(1.0, Law.DETERMINISTIC), classes=classes)
    run = Simulation(case, 6)
    run.advance(case.duration_s)
    felt = run.outcome_by_class()
    assert felt["small"].mean_s == pytest.approx(0.5 / 0.3, rel=0.05)
    assert felt["large"].mean_s == pytest.approx(3.0 / 0.3, rel=0.05)


def test_several_workers_that_are_shared_take_as_long_in_the_mean_as_one_queue() -> None:
    # M/M/c: the number present does not depend on who is served, nor, by Little, does the mean.
    wanted = 1.0 + erlang_c(4, 0.8) / (4 * 0.2)
    assert mean_s(one(Station(4, sharing=True), 3.2)) == pytest.approx(wanted, rel=0.03)


def test_sharing_pauses_turns_slow_and_gives_up_as_a_queue_does() -> None:
    # One deterministic request at a time: its end can be worked out by hand.
    speed = Steps((0.0, 10.5, 11.0, 20.0), (1.0, 0.0, 1.0, 0.5))
    for sharing in (True, False):
        trace = Trace(at_s=np.array([0.0, 10.0, 20.0, 25.0]), work_s=np.array([1.0, 1.0, 1.0, 9.0]))
        case = one(
            Station(1, speed, sharing=sharing),
            1.0,
            traffic=Traffic(Steps.of(1.0), trace=trace),
            duration_s=30.0,
            timeout_s=6.0,
        )
        run = Simulation(case, 1)
        run.advance(30.0)
        run.drain()
        felt = run.outcome()
        assert (felt.requests, felt.failed) == (4, 1)
        assert felt.latency_sum_s == pytest.approx(1.0 + 1.5 + 2.0)
        assert run.telemetry().failed.tolist() == [1.0]
        assert not run._state.in_flight.any()


def test_an_endpoint_that_shares_refuses_above_its_limit_and_loses_nobody() -> None:
    case = one(Station(2, sharing=True), 4.0, 20_000, queue_limit=20, timeout_s=8.0)
    run = Simulation(case, 2)
    run.advance(case.duration_s)
    run.drain()
    felt = run.outcome()
    assert felt.requests == len(run._state.arrives_s)
    assert 0.5 < felt.error_ratio < 0.8
    assert run._state.total[0] == run._state.jobs[0] == 0
    assert not run._state.open.any()


def test_a_cold_cache_costs_what_it_says() -> None:
    # Work of 1 + 3 exp(-k / 50) for the k-th request: 3 x 50 in all, more than when warm.
    case = one(Station(4, cold=4.0, warm_after=50.0), 0.01, 2000, work=Work(1.0, Law.DETERMINISTIC))
    run = Simulation(case, 3)
    run.advance(case.duration_s)
    run.drain()
    felt = run.outcome()
    surplus = sum(3.0 * math.exp(-k / 50.0) for k in range(felt.requests))
    assert felt.latency_sum_s == pytest.approx(felt.requests + surplus)


def two_regions(**changes: object) -> Case:
    made = Case(
        "regions",
        (Station(1), Station(1, region=1)),
        Traffic(Steps.of(1.2)),
        Work(1.0),
        proxies=2,
        duration_s=200_000.0,
        timeout_s=math.inf,
        queue_limit=10**6,
        balancing=Balancing(Algorithm.RANDOM, eject_after=0),
        regions=("here", "there"),
        proxy_regions=(0, 1),
        region_traffic=(0.75, 0.25),
        network_s=((0.0, 0.4), (0.7, 0.1)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("sharing", [False, True])
def test_regions_add_the_way_and_nothing_else(sharing: bool) -> None:
    # Poisson traffic that is delayed stays Poisson: two M/M/1 of load 0.6, and the way there and
    # back: means over (proxy, endpoint) with 3/8, 3/8, 1/8, 1/8 of the requests.
    case = two_regions(
        stations=(Station(1, sharing=sharing), Station(1, region=1, sharing=sharing))
    )
    way = 2.0 * (0.375 * 0.0 + 0.375 * 0.4 + 0.125 * 0.7 + 0.125 * 0.1)
    assert mean_s(case) == pytest.approx(1.0 / 0.4 + way, rel=0.03)


def test_each_region_has_its_own_weights_and_its_own_telemetry() -> None:
    case = two_regions(balancing=Balancing(Algorithm.FULL_SCAN, eject_after=0), duration_s=20_000.0)
    run = Simulation(case, 4)
    groups = replace(one_group(case, 0.0), names=("a", "b"), index=np.array([0, 1]))
    run.split(groups, np.array([[0.9, 0.1], [0.2, 0.8]]))
    run.advance(case.duration_s)
    s = run._state
    first = s.region_of[s.balancer] == 0
    assert (s.endpoint[first] == 0).mean() == pytest.approx(0.9, abs=0.001)
    assert (s.endpoint[~first] == 0).mean() == pytest.approx(0.2, abs=0.001)
    whole, (here, there) = run.telemetry_both()
    assert whole.succeeded.tolist() == (here.succeeded + there.succeeded).tolist()
    assert whole.proxies == 2
    assert here.succeeded.sum() / there.succeeded.sum() == pytest.approx(3.0, rel=0.05)
    # The same endpoint, whose way is 0.4 s from here and 0.1 s from there, and as long back.
    assert here.latency_s[1] - there.latency_s[1] == pytest.approx(0.6, abs=0.1)
    for look in (here, there):  # Little: in flight = rate x mean latency
        rate = look.succeeded / look.window_s
        assert look.in_flight == pytest.approx(rate * look.latency_s, rel=0.03)
    assert (here.proxies, there.proxies) == (1, 1)
    assert [e.where.region for e in case.service().endpoints] == ["here", "there"]


def test_classes_wait_alike_and_work_differently() -> None:
    # M/G/1, first come, first served: every class waits (Pollaczek and Khinchine) the same.
    classes = (RequestClass("cheap", 0.9, 0.5, 1.0), RequestClass("dear", 0.1, 5.5, 20.0))
    case = one(Station(1), 0.6, 800_000, work=Work(1.0, Law.DETERMINISTIC), classes=classes)
    assert case.capacity_rps == pytest.approx(1.0)
    run = Simulation(case, 7)
    run.advance(case.duration_s)
    felt = run.outcome_by_class()
    wait = 0.6 * (0.9 * 0.5**2 + 0.1 * 5.5**2) / (2.0 * 0.4)
    assert felt["cheap"].mean_s == pytest.approx(0.5 + wait, rel=0.04)
    assert felt["dear"].mean_s == pytest.approx(5.5 + wait, rel=0.04)
    total = felt["cheap"].requests + felt["dear"].requests
    assert felt["dear"].requests / total == pytest.approx(0.1, rel=0.03)


def test_lost_reports_are_missing_from_counts_and_said_to_be() -> None:
    case = Case(
        "loss",
        tuple(Station(4) for _ in range(4)),
        Traffic(Steps.of(800.0)),
        Work(0.01),
        proxies=20,
        duration_s=40.0,
        loss=0.25,
    )
    run = Simulation(case, 8)
    seen, covered, empty = 0.0, [], 0
    for at in range(1, 41):
        run.advance(float(at))
        look = run.telemetry().observation(case.service().name)
        assert look.proxies == round(look.coverage * 20)
        seen += float(np.nansum(look.succeeded))
        covered.append(look.coverage)
        empty += look.coverage == 0.0
        # Little's law still holds between what is seen: rates and in flight are lost together.
        little = look.in_flight.sum() / (look.rate_rps * look.latency_s).sum()
        assert little == pytest.approx(1.0, abs=0.35)
    assert np.mean(covered) == pytest.approx(0.75, abs=0.05)
    assert seen / run.outcome().requests == pytest.approx(0.75, abs=0.05)
    everything = Simulation(replace(case, loss=0.999999), 8)
    everything.advance(1.0)
    look = everything.telemetry().observation(case.service().name)
    assert look.coverage == 0.0
    assert np.isnan(look.succeeded).all()


def test_phases_make_counts_as_variable_as_theory_says() -> None:
    # Two phases: variance over mean of counts in long windows (Fischer and Meier-Hellstern, 1993):
    # 1 + 2 (a - b)^2 p q / ((p + q)^2 (a q + b p)), p and q being how often phases are left.
    a, b, p, q = 300.0, 50.0, 1.0 / 0.4, 1.0 / 0.6
    traffic = Traffic(Steps.of(1.0), mmpp=Mmpp((a, b), (1.0 / p, 1.0 / q)))
    times = traffic.arrivals(30_000.0, np.random.default_rng(9))
    counts = np.bincount((times / 15.0).astype(int), minlength=2000)
    wanted = 1.0 + 2.0 * (a - b) ** 2 * p * q / ((p + q) ** 2 * (a * q + b * p))
    assert counts.mean() / 15.0 == pytest.approx((a * q + b * p) / (p + q), rel=0.02)
    assert counts.var() / counts.mean() == pytest.approx(wanted, rel=0.12)


def test_half_of_the_requests_come_in_bursts_and_the_mean_rate_stays() -> None:
    # Bursts of 4 times the rate for an eighth of the time, and lulls that bring the other half:
    # a phase process, with the variance of counts as above.
    rate, burst, burst_s, duration_s = 20.0, 4.0, 0.5, 40_000.0
    traffic = Traffic(Steps.of(rate), burst=burst, burst_s=burst_s)
    bursts = traffic._bursts(duration_s, np.random.default_rng(11))
    times = traffic.arrivals(duration_s, np.random.default_rng(11))  # which draws the same first
    assert len(times) == pytest.approx(rate * duration_s, rel=0.02)
    now = np.searchsorted(bursts.from_s, times, side="right") - 1
    inside = np.array(bursts.value)[now] == burst
    assert inside.mean() == pytest.approx(0.5, abs=0.015)
    lasts = np.diff(bursts.from_s)
    on = np.array(bursts.value[:-1]) == burst
    assert lasts[on].mean() == pytest.approx(burst_s, rel=0.04)
    assert lasts[on].sum() / lasts.sum() == pytest.approx(1.0 / (2.0 * burst), rel=0.04)
    a, b = burst * rate, 0.5 * rate / (1.0 - 0.5 / burst)
    p, q = 1.0 / burst_s, 1.0 / (burst_s * (2.0 * burst - 1.0))
    counts = np.bincount((times / 20.0).astype(int), minlength=2000)
    wanted = 1.0 + 2.0 * (a - b) ** 2 * p * q / ((p + q) ** 2 * (a * q + b * p))
    assert a * q + b * p == pytest.approx(rate * (p + q))
    assert counts.var() / counts.mean() == pytest.approx(wanted, rel=0.12)


def test_a_day_has_its_night() -> None:
    day = Steps.wave(100.0, 0.8, 240.0, 480.0)
    assert day.at(0.0) == pytest.approx(20.0, abs=1.0)
    assert day.at(120.0) == pytest.approx(180.0, abs=1.0)
    assert day.at(470.0) < 30.0
    times = Traffic(day).arrivals(480.0, np.random.default_rng(1))
    assert len(times) == pytest.approx(48_000, rel=0.02)


@pytest.mark.parametrize("name", ["trace.csv", "trace.npz"])
def test_a_trace_is_replayed_as_it_was_recorded(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Trace(at_s=np.array([0.0, 0.25, 3.5]), work_s=np.array([0.1, 0.2, 0.3])).write(path)
    case = one(Station(4), 1.0, traffic=Traffic(Steps.of(1.0), trace=Trace.read(path)))
    run = Simulation(replace(case, duration_s=10.0), 1)
    assert run._state.arrives_s.tolist() == [0.0, 0.25, 3.5]
    assert run._state.work_s.tolist() == [0.1, 0.2, 0.3]
    Trace(counts=np.array([3, 0, 5])).write(path)
    times = Traffic(Steps.of(1.0), trace=Trace.read(path)).arrivals(9.0, np.random.default_rng(1))
    assert np.bincount(times.astype(int)).tolist() == [3, 0, 5]
    assert Trace.read(path).duration_s == 3.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither"),
        ("second,n\n0,3\n", "neither"),
        ("at_s\n2\n1\n", "in order"),
        ("at_s\n", "some"),
        ("count\n-1\n", "below 0"),
        ("at_s\nnan\n", "numbers"),
        ("at_s\nx\n", "x"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_a_trace_that_cannot_be_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        Trace.read(path)


def test_a_case_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="latencies"):
        two_regions(network_s=((0.0,),))
    with pytest.raises(ValueError, match="region"):
        two_regions(stations=(Station(1, region=2),))
    with pytest.raises(ValueError, match="sum to 1"):
        two_regions(classes=(RequestClass("a", 0.5),))
    with pytest.raises(ValueError, match="on their way"):
        two_regions(timeout_s=0.5)
    assert endpoint_id(0) in one_group(two_regions(), 0.0).endpoints
