"""The simulator's balancing algorithms against their definitions: Envoy's, gRPC's, Finagle's."""

from __future__ import annotations

import heapq
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controlplane.model import Grouping
from policies.simulator import (
    Algorithm,
    Balancing,
    Case,
    Keys,
    Orca,
    Simulation,
    Station,
    Steps,
    Trace,
    Traffic,
    Work,
    core,
    endpoint_id,
)
from policies.simulator.compiled import COMPILED, digest
from policies.simulator.hashing import maglev, ring

pytestmark = pytest.mark.learning

IDS = tuple(endpoint_id(i) for i in range(64))


def case(
    stations: int | tuple[Station, ...],
    algorithm: Algorithm,
    rate: float = 200.0,
    work: Work | None = None,
    **changes: object,
) -> Case:
    """One proxy, and endpoints that are hardly busy."""
    if isinstance(stations, int):
        stations = tuple(Station(64) for _ in range(stations))
    made = Case(
        "algorithms",
        stations,
        Traffic(Steps.of(rate)),
        work or Work(0.01),
        proxies=1,
        duration_s=60.0,
        balancing=Balancing(algorithm, eject_after=0),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def each_apart(n: int) -> Grouping:
    return Grouping(IDS[:n], IDS[:n], np.arange(n), by_locality=False)


@pytest.mark.parametrize("bias", [0.0, 1.0, 1.7])
def test_weighted_least_request_is_envoys_schedule_pick_for_pick(bias: float) -> None:
    # Envoy: the earliest deadline is taken and put back 1 / (weight / (active + 1)^bias) later.
    speeds, weights = (0.02, 0.1, 1.0), (3.0, 1.0, 2.0)
    rules = Balancing(Algorithm.LEAST_REQUEST, active_request_bias=bias, eject_after=0)
    stations = tuple(Station(10_000, Steps.of(v)) for v in speeds)
    run = Simulation(case(stations, Algorithm.LEAST_REQUEST, balancing=rules, queue_limit=9999), 1)
    run.split(each_apart(3), np.array(weights) / sum(weights))
    s = run._state
    schedule = [(s.due[0, host], host) for host in range(3)]
    heapq.heapify(schedule)
    running: list[tuple[float, int]] = []
    wanted = []
    for at, work in zip(s.arrives_s, s.work_s, strict=True):
        while running and running[0][0] <= at:
            heapq.heappop(running)
        due, host = heapq.heappop(schedule)
        active = sum(one == host for _, one in running)
        weight = weights[host] / max(weights) / (active + 1.0) ** bias
        heapq.heappush(schedule, (due + 1.0 / weight, host))
        heapq.heappush(running, (at + work / speeds[host], host))
        wanted.append(host)
    run.advance(60.0)
    assert s.endpoint.tolist() == wanted


def test_least_work_left_is_one_common_queue() -> None:
    # Known of old: with single servers alike it serves each request when one queue for all would.
    sums = []
    for stations in ((Station(1),) * 5, (Station(5),)):
        run = Simulation(case(stations, Algorithm.LEAST_WORK, 450.0, timeout_s=math.inf), 3)
        run.advance(60.0)
        run.drain()
        sums.append(run.outcome().latency_sum_s)
    assert sums[0] == pytest.approx(sums[1], rel=1e-9)


def test_peak_ewma_is_finagles_cost() -> None:
    stations = (Station(64, Steps((0.0, 20.0), (1.0, 0.2))), Station(64), Station(64))
    run = Simulation(case(stations, Algorithm.PEAK_EWMA, 100.0), 4)
    run.advance(60.0)
    s, known, stamp = run._state, np.zeros(3), np.zeros(3)
    speed = np.where((s.endpoint == 0) & (s.arrives_s > 20.0), 0.2, 1.0)
    ends = s.arrives_s + s.work_s / speed
    for i in np.argsort(ends[s.arrives_s < 19.0]):
        e, latency = s.endpoint[i], ends[i] - s.arrives_s[i]
        kept = math.exp((stamp[e] - ends[i]) / 10.0)
        known[e] = max(latency, known[e] * kept + latency * (1.0 - kept))
        stamp[e] = ends[i]
    again = Simulation(run.case, 4)
    again.advance(19.0)
    core.advance(again._state, 19.5, False)
    assert again._state.peak_s[0] == pytest.approx(known, rel=1e-6)
    late = s.endpoint[s.arrives_s > 25.0]
    assert (late == 0).mean() < 0.5 * (late == 1).mean()


def test_random_takes_no_notice_of_what_is_in_flight() -> None:
    stations = (Station(64, Steps.of(0.05)), *(Station(64),) * 3)
    run = Simulation(case(stations, Algorithm.RANDOM, 1000.0), 5)
    run.advance(60.0)
    given = run.arrived()
    expected = given.sum() / 4
    assert ((given - expected) ** 2 / expected).sum() < 16.3  # chi-squared, 3 degrees, p = 0.001


FAST_AND_SLOW = (Station(4, Steps.of(3.0)), Station(4), Station(4))


def test_cswrr_splits_by_capacity_after_the_blackout_and_equally_before() -> None:
    run = Simulation(case(FAST_AND_SLOW, Algorithm.CSWRR, 900.0, Work(0.01)), 6)
    run.advance(9.9)
    before = run.arrived()
    assert np.ptp(before) <= 1.0
    run.advance(20.0)
    settled = run.arrived()
    run.advance(60.0)
    later = run.arrived() - settled
    assert later[0] / later.sum() == pytest.approx(0.6, abs=0.03)


def test_cswrr_weights_are_rps_over_utilisation_with_its_penalty() -> None:
    failing = (Station(4, fails=Steps.of(0.5)), Station(4), Station(4))
    for penalty in (0.0, 1.0):
        rules = Balancing(
            Algorithm.CSWRR, eject_after=0, orca=Orca(penalty, blackout_s=2.0, update_s=1.0)
        )
        run = Simulation(case(failing, Algorithm.CSWRR, 300.0, balancing=rules), 7)
        run.advance(30.5)
        s = run._state
        rps, eps, used = s.reported.T
        assert s.said[0] == pytest.approx(np.floor(rps / (used + penalty * eps / rps)), abs=1.0)
    # With the penalty a failing endpoint looks busier, not more able.
    assert s.said[0, 0] < 0.5 * s.said[0, 1]


def test_cswrr_gives_the_median_to_endpoints_without_a_weight_and_forgets_old_ones() -> None:
    rules = Balancing(Algorithm.CSWRR, eject_after=0, orca=Orca(blackout_s=5.0, expiry_s=8.0))
    made = case(3, Algorithm.CSWRR, balancing=rules)
    run = Simulation(made, 8)
    run.advance(10.2)
    s = run._state
    assert (s.own_weight[0] > 1.0).all()
    core.advance(s, 11.5, False)  # from here on nothing is heard
    s.said[0], s.said_at_s[0] = [10.0, 99.0, 20.0], 11.5
    s.said_since_s[0] = [1.0, 9.0, 1.0]
    core.advance(s, 12.1, False)  # the second is in its blackout
    assert s.own_weight[0].tolist() == [10.0, 15.0, 20.0]
    core.advance(s, 14.1, False)
    assert s.own_weight[0].tolist() == [10.0, 99.0, 20.0]
    core.advance(s, 20.1, False)  # older than 8 s: all equal, and a blackout would begin anew
    assert s.own_weight[0].tolist() == [1.0, 1.0, 1.0]
    assert s.said_since_s[0].tolist() == [np.inf] * 3


@pytest.mark.parametrize("algorithm", [Algorithm.RING_HASH, Algorithm.MAGLEV])
def test_a_key_stays_at_its_endpoint_and_only_those_of_an_ejected_one_move(
    algorithm: Algorithm,
) -> None:
    rules = Balancing(algorithm, eject_after=5, eject_s=300.0, success_rate_factor=0.0)
    ill = Station(64, fails=Steps((0.0, 30.0), (0.0, 1.0)))
    made = case((ill, *(Station(64),) * 4), algorithm, 1000.0, balancing=rules, keys=Keys(300))
    run = Simulation(made, 9)
    run.advance(60.0)
    s = run._state
    early, late = s.arrives_s < 30.0, s.arrives_s > 31.0
    first = dict(zip(s.key[early].tolist(), s.endpoint[early].tolist(), strict=True))
    assert len(first) == 300
    homes = np.array([first[key] for key in s.key.tolist()])
    assert (s.endpoint[early] == homes[early]).all()
    assert (s.endpoint[late] != 0).all()
    assert (s.endpoint[late] == homes[late])[homes[late] != 0].all()


def test_a_ring_has_entries_by_weight() -> None:
    # Envoy: the smallest weight gets a whole number of entries: ceil(1024 / 3) for each of three.
    at, hosts = ring(np.arange(3), np.full(3, 1 / 3), 1024)
    assert np.bincount(hosts).tolist() == [342, 342, 342]
    assert (np.diff(at.astype(object)) > 0).all()
    _, hosts = ring(np.arange(3), np.array([0.5, 0.3, 0.2]), 1000)
    assert np.bincount(hosts).tolist() == [500, 300, 200]


def test_maglev_fills_its_table_evenly_and_moves_little() -> None:
    # Eisenbud and others, 2016, section 5.3: within 1 % at 65537 entries for some tens of hosts.
    size, n = 65537, 20
    table = maglev(np.arange(n), np.full(n, 1 / n), size)
    counts = np.bincount(table)
    assert np.ptp(counts) <= 0.01 * size / n
    without = maglev(np.arange(n - 1), np.full(n - 1, 1 / (n - 1)), size)
    moved = (table != without)[table != n - 1].mean()
    assert moved < 0.06
    weighted = np.bincount(maglev(np.arange(3), np.array([0.5, 0.3, 0.2]), size)) / size
    assert weighted == pytest.approx([0.5, 0.3, 0.2], abs=0.002)


@pytest.mark.parametrize(
    ("healthy", "loads"),
    [(100, 100), (72, 100), (71, 99), (50, 70), (25, 35), (0, 0)],
)
def test_priorities_take_over_as_envoys_table_says(healthy: int, loads: int) -> None:
    # The table in Envoy's documentation of priority levels, overprovisioning factor 140.
    stations = (*(Station(1),) * 100, *(Station(1, priority=1),) * 100)
    rules = Balancing(Algorithm.RANDOM, eject_after=0, overprovisioning=1.4)
    run = Simulation(case(stations, Algorithm.RANDOM, 5000.0, duration_s=4.0, balancing=rules), 10)
    s = run._state
    s.ejected_s[0, healthy:100] = 0.0
    s.ejected[0] = 100 - healthy
    core.restart(s)
    assert s.level_load[0] == pytest.approx([loads / 100, 1.0 - loads / 100], abs=0.005)
    run.advance(4.0)
    given = run.arrived()
    assert given[:100].sum() / given.sum() == pytest.approx(loads / 100, abs=0.015)
    assert given[healthy:100].sum() == 0.0


def test_where_all_priorities_together_cannot_take_it_they_panic() -> None:
    # 20 % healthy in the first and 30 % in the second: availability 28 + 42 = 70, so 40 to 60, and
    # both are below the threshold of 50 %: every endpoint gets requests.
    stations = (*(Station(1),) * 10, *(Station(1, priority=1),) * 10)
    rules = Balancing(Algorithm.RANDOM, eject_after=0, overprovisioning=1.4)
    run = Simulation(case(stations, Algorithm.RANDOM, 5000.0, duration_s=4.0, balancing=rules), 11)
    s = run._state
    s.ejected_s[0, 2:10] = s.ejected_s[0, 13:20] = 0.0
    s.ejected[0] = 15
    core.restart(s)
    assert s.level_load[0] == pytest.approx([0.4, 0.6])
    run.advance(4.0)
    assert (run.arrived() > 0).all()


def test_ten_per_cent_of_eight_endpoints_are_none() -> None:
    stations = (Station(4, fails=Steps.of(1.0)), *(Station(4),) * 7)
    for most, ejections in ((0.1, 0), (0.125, 1)):
        rules = Balancing(Algorithm.ROUND_ROBIN, eject_most=most)
        run = Simulation(case(stations, Algorithm.ROUND_ROBIN, balancing=rules), 12)
        run.advance(10.0)
        assert run._state.ejected[0] == ejections


def test_a_success_rate_far_below_the_others_ejects() -> None:
    # Envoy's own example: rates of 50, 100, 100, 100, 100 give a threshold of 52.
    stations = (Station(4, fails=Steps.of(0.5)), *(Station(4),) * 4)
    rules = Balancing(Algorithm.ROUND_ROBIN, eject_after=10**6, eject_interval_s=10.0)
    for factor, out in ((1.9, True), (2.1, False)):
        made = replace(rules, success_rate_factor=factor)
        run = Simulation(case(stations, Algorithm.ROUND_ROBIN, 400.0, balancing=made), 13)
        run.advance(9.9)
        assert run._state.ejected[0] == 0
        run.advance(10.1)
        assert bool(run._state.ejected_s[0, 0] < np.inf) == out
        assert run._state.ejected[0] == int(out)


def test_an_ejection_lasts_longer_each_time_and_ends_at_an_interval() -> None:
    stations = (Station(4, fails=Steps.of(1.0)), *(Station(4),) * 3)
    rules = Balancing(Algorithm.ROUND_ROBIN, eject_s=7.0, eject_interval_s=2.0)
    run = Simulation(case(stations, Algorithm.ROUND_ROBIN, 400.0, balancing=rules), 14)
    changes, out = [], False
    for at in np.arange(0.25, 60.0, 0.25):
        run.advance(float(at))
        if (run._state.ejected[0] > 0) != out:
            out = not out
            changes.append(float(at))
    assert changes[0] < 0.6
    assert changes[1] == pytest.approx(8.0, abs=0.3)  # 7 s, at the next multiple of 2
    assert changes[3] == pytest.approx(24.0, abs=0.3)  # twice 7 s from 8 on, at the next multiple


def test_workers_of_a_proxy_share_what_outlier_detection_knows() -> None:
    stations = (Station(64, fails=Steps.of(1.0)), *(Station(64),) * 3)
    rules = Balancing(Algorithm.ROUND_ROBIN)
    made = case(stations, Algorithm.ROUND_ROBIN, balancing=rules, workers_per_proxy=8)
    run = Simulation(made, 15)
    run.advance(10.0)
    assert run.arrived()[0] == pytest.approx(5, abs=2)


@pytest.mark.parametrize("workers", [1, 8])
def test_workers_of_a_proxy_share_what_is_in_flight(workers: int) -> None:
    """As a real Envoy 1.40 with FULL_SCAN: with one worker and with four, of 200 requests none went
    to the endpoint that had one in flight."""
    at_s = np.linspace(0.0, 20.0, 201)
    work_s = np.array([1_000.0, *[0.01] * 200])
    made = case(
        (Station(64), Station(64)),
        Algorithm.FULL_SCAN,
        proxies=1,
        workers_per_proxy=workers,
        timeout_s=2_000.0,
        traffic=Traffic(Steps.of(1.0), trace=Trace(at_s, work_s)),
    )
    run = Simulation(made, 3)
    run.advance(30.0)
    assert sorted(run.arrived().tolist()) == [1.0, 200.0]


def test_the_stamp_of_the_cache_changes_with_any_compiled_module(tmp_path: Path) -> None:
    for name in COMPILED:
        (tmp_path / f"{name}.py").write_text("x = 1")
    before = digest.__wrapped__(tmp_path)
    (tmp_path / "picks.py").write_text("x = 2")
    assert before != digest.__wrapped__(tmp_path)
    here = Path(core.__file__).parent
    assert core.advance._cache._cache_file._source_stamp == digest(here)  # type: ignore[attr-defined]
    uses = {
        p.stem for p in here.glob("*.py") if "policies.simulator.compiled import" in p.read_text()
    }
    assert uses <= set(COMPILED)
