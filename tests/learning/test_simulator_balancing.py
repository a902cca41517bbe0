"""The simulator's balancers: shares are exact, knowledge is local, runs repeat."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from controlplane.model import Grouping
from policies.simulator import (
    FAMILIES,
    Algorithm,
    Balancing,
    Case,
    Law,
    Simulation,
    Size,
    Station,
    Steps,
    Traffic,
    Work,
    endpoint_id,
    scenario,
)
from policies.simulator.case import HASHED, station_of

pytestmark = pytest.mark.learning


def quiet(endpoints: int, algorithm: Algorithm, **changes: object) -> Case:
    """One proxy, endpoints that are never busy."""
    case = Case(
        "shares",
        tuple(Station(64) for _ in range(endpoints)),
        Traffic(Steps.of(200.0)),
        Work(0.001),
        proxies=1,
        duration_s=30.0,
        balancing=Balancing(algorithm, eject_after=0),
    )
    return replace(case, **changes)  # type: ignore[arg-type]


def by_endpoint(endpoints: int) -> Grouping:
    ids = tuple(endpoint_id(i) for i in range(endpoints))
    return Grouping(ids, ids, np.arange(endpoints), by_locality=False)


def in_pairs(endpoints: int) -> Grouping:
    ids = tuple(endpoint_id(i) for i in range(endpoints))
    names = tuple(f"g{i}" for i in range(endpoints // 2))
    return Grouping(ids, names, np.arange(endpoints) // 2)


def test_round_robin_gives_endpoints_exactly_their_weights() -> None:
    run = Simulation(quiet(3, Algorithm.ROUND_ROBIN), seed=1)
    run.split(by_endpoint(3), np.array([0.1, 0.3, 0.6]))
    run.advance(30.0)
    given = run.arrived()
    assert np.abs(given - given.sum() * np.array([0.1, 0.3, 0.6])).max() <= 2.0


def test_round_robin_with_equal_weights_takes_turns() -> None:
    run = Simulation(quiet(5, Algorithm.ROUND_ROBIN), seed=1)
    run.advance(30.0)
    assert np.ptp(run.arrived()) <= 1.0


def given_by_each(run: Simulation, endpoints: int) -> list[np.ndarray]:
    """(endpoints,) requests of every balancer in turn: an Envoy's worker threads, one by one."""
    s = run._state
    return [
        np.bincount(s.endpoint[s.balancer == b], minlength=endpoints)
        for b in range(len(s.proxy_of))
    ]


def test_each_worker_of_an_envoy_takes_turns_of_its_own() -> None:
    run = Simulation(quiet(5, Algorithm.ROUND_ROBIN, workers_per_proxy=2), seed=1)
    run.advance(30.0)
    s = run._state
    for b in (0, 1):
        turns = s.endpoint[s.balancer == b]
        assert len(turns) > 2_000
        assert np.array_equal(np.diff(turns) % 5, np.ones(len(turns) - 1))
    assert (np.diff(s.endpoint) % 5 != 1).mean() > 0.3  # which all together do not


def test_each_worker_of_an_envoy_gives_endpoints_exactly_their_weights() -> None:
    run = Simulation(quiet(3, Algorithm.ROUND_ROBIN, proxies=2, workers_per_proxy=2), seed=1)
    weights = np.array([0.1, 0.3, 0.6])
    run.split(by_endpoint(3), weights)
    run.advance(30.0)
    for given in given_by_each(run, 3):
        assert np.abs(given - given.sum() * weights).max() <= 2.0


def test_each_worker_of_an_envoy_gives_localities_exactly_their_weights() -> None:
    run = Simulation(quiet(6, Algorithm.RANDOM, proxies=2, workers_per_proxy=2), seed=2)
    shares = np.array([0.2, 0.5, 0.3])
    run.split(in_pairs(6), shares)
    run.advance(30.0)
    for given in given_by_each(run, 6):
        by_locality = given.reshape(3, 2).sum(axis=1)
        assert np.abs(by_locality - given.sum() * shares).max() <= 2.0


def test_what_is_in_flight_is_known_to_all_workers_of_an_envoy() -> None:
    """Envoy counts it at the host, which its workers share; another Envoy knows nothing of it."""
    given = {}
    for proxies, workers in ((1, 8), (8, 1)):
        case = quiet(8, Algorithm.FULL_SCAN, proxies=proxies, workers_per_proxy=workers)
        lasting = replace(case, work=Work(60.0, Law.DETERMINISTIC))
        run = Simulation(lasting, seed=3)
        run.advance(5.0)  # nothing has ended
        given[proxies] = np.ptp(run.arrived())
    assert given[1] <= 1.0 < given[8]


@pytest.mark.parametrize("algorithm", sorted(set(Algorithm) - set(HASHED)))
def test_localities_get_exactly_their_weights_whatever_picks_inside(algorithm: Algorithm) -> None:
    run = Simulation(quiet(6, algorithm), seed=2)
    shares = np.array([0.2, 0.5, 0.3])
    run.split(in_pairs(6), shares)
    run.advance(30.0)
    given = run.arrived().reshape(3, 2).sum(axis=1)
    assert np.abs(given - given.sum() * shares).max() <= 2.0


def test_new_weights_split_what_comes_after_them() -> None:
    run = Simulation(quiet(4, Algorithm.FULL_SCAN), seed=3)
    run.split(in_pairs(4), np.array([0.5, 0.5]))
    run.advance(15.0)
    before = run.arrived()
    run.split(in_pairs(4), np.array([0.9, 0.1]))
    run.advance(30.0)
    after = (run.arrived() - before).reshape(2, 2).sum(axis=1)
    assert after[0] / after.sum() == pytest.approx(0.9, abs=0.002)


def test_weighted_least_request_divides_the_weight_by_what_is_in_flight() -> None:
    # Weights 2 to 1 and a bias: the endpoint that is always busy gets less than its weight.
    slow = (Station(64, Steps.of(0.01)), Station(64, Steps.of(1.0)))
    case = quiet(2, Algorithm.LEAST_REQUEST, stations=slow, work=Work(0.01))
    parts = []
    for bias in (0.0, 1.0, 2.0):
        rules = Balancing(Algorithm.LEAST_REQUEST, active_request_bias=bias, eject_after=0)
        run = Simulation(replace(case, balancing=rules), seed=4)
        run.split(by_endpoint(2), np.array([2.0, 1.0]) / 3.0)
        run.advance(30.0)
        parts.append(run.arrived()[0] / run.arrived().sum())
    assert parts[0] == pytest.approx(2.0 / 3.0, abs=0.002)
    assert parts[0] > parts[1] > parts[2]


def test_a_new_bias_counts_for_what_comes_after_it() -> None:
    # As Envoy says of `active_request_bias`: with 0 it is round robin by weight.
    slow = (Station(64, Steps.of(0.01)), Station(64, Steps.of(1.0)))
    case = quiet(2, Algorithm.FULL_SCAN, stations=slow, work=Work(0.01))
    run = Simulation(case, seed=4)
    run.split(by_endpoint(2), np.array([2.0, 1.0]) / 3.0)
    run.advance(15.0)
    before = run.arrived()
    run.bias(0.0)
    run.advance(30.0)
    after = run.arrived() - before
    assert before[0] / before.sum() < 0.6
    assert after[0] / after.sum() == pytest.approx(2.0 / 3.0, abs=0.002)


def test_many_proxies_know_less_than_one() -> None:
    means = []
    for proxies in (1, 8, 64):
        case = scenario("all_different", seed=5, size=Size(8, proxies, 0.8, 200.0), work=Work(0.05))
        run = Simulation(case, seed=5)
        run.advance(case.duration_s)
        run.drain()
        means.append(run.outcome().mean_s)
    assert means[0] < means[1] < means[2]


def test_an_endpoint_that_moves_to_another_group_is_a_new_host() -> None:
    case = quiet(4, Algorithm.FULL_SCAN, work=Work(5.0))
    run = Simulation(case, seed=6)
    run.split(in_pairs(4), np.array([0.5, 0.5]))
    run.advance(2.0)
    moved = replace(in_pairs(4), index=np.array([0, 1, 1, 0]))
    known = run._state.in_flight.copy()
    run.split(moved, np.array([0.5, 0.5]))
    assert run._state.in_flight[0, 1] == 0
    assert run._state.in_flight[0, 0] == known[0, 0] > 0
    run.drain()
    assert not run._state.in_flight.any()


def test_an_endpoint_that_only_fails_is_ejected_by_every_proxy() -> None:
    bad = tuple(Station(4, fails=Steps.of(1.0 if i == 0 else 0.0)) for i in range(4))
    rules = Balancing(Algorithm.FULL_SCAN, eject_after=5)
    run = Simulation(quiet(4, Algorithm.FULL_SCAN, stations=bad, proxies=3, balancing=rules), 7)
    run.advance(14.0)
    assert run.arrived()[0] == pytest.approx(15, abs=3)
    looked = run.telemetry()
    assert looked.failed.sum() == run.arrived()[0]


def test_telemetry_counts_what_happened() -> None:
    case = scenario("hardware_2x", seed=8, size=Size(4, 2, 0.6))
    run = Simulation(case, seed=8)
    ended = 0.0
    while run.now_s < case.duration_s:
        run.advance(run.now_s + 1.0)
        look = run.telemetry()
        ended += look.succeeded.sum() + look.failed.sum()
        # Little's law holds in every window up to what crosses its borders.
        assert look.in_flight.sum() > 0
    run.drain()
    last = run.telemetry()
    ended += last.succeeded.sum() + last.failed.sum()
    assert ended == run.arrived().sum() == run.outcome().requests


def test_sampling_sees_part_of_the_latencies_and_all_of_the_counts() -> None:
    case = replace(scenario("homogeneous", seed=9, size=Size(4, 2, 0.6)), sampling=0.1)
    run = Simulation(case, seed=9)
    run.advance(40.0)
    look = run.telemetry().observation(case.service().name)
    assert look.latency_samples.sum() == pytest.approx(0.1 * look.succeeded.sum(), rel=0.1)
    assert np.isnan(look.utilisation).all()


def test_the_same_requests_meet_every_policy() -> None:
    case = scenario("bursty", seed=10, size=Size(4, 2, 0.6))
    runs = [Simulation(case, seed=10) for _ in range(2)]
    runs[1].split(in_pairs(4), np.array([0.8, 0.2]))
    for run in runs:
        run.advance(40.0)
    first, second = (run._state for run in runs)
    assert np.array_equal(first.arrives_s, second.arrives_s)
    assert np.array_equal(first.work_s, second.work_s)
    assert not np.array_equal(first.endpoint, second.endpoint)


def test_a_run_repeats_and_another_seed_differs() -> None:
    def mean(seed: int) -> float:
        run = Simulation(scenario("noisy_neighbour", seed=11), seed=seed)
        run.advance(40.0)
        return run.outcome().mean_s

    assert mean(1) == mean(1) != mean(2)


TWIN = """
from policies.simulator import *
for family in FAMILIES:
    case = scenario(family, seed=3, size=Size(4, 3, 0.7, 8.0), work=Work(0.1))
    run = Simulation(case, seed=3)
    run.advance(8.0); run.drain()
    felt = run.outcome()
    print(family, felt.requests, felt.failed, felt.latency_sum_s.hex())
"""


def test_compiled_and_interpreted_agree_to_the_last_bit() -> None:
    def played(**environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", TWIN],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return done.stdout

    compiled = played()
    assert compiled.count("\n") == len(FAMILIES)
    assert compiled == played(NUMBA_DISABLE_JIT="1")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_same_case_for_a_seed(family: str) -> None:
    assert scenario(family, seed=12) == scenario(family, seed=12)
    run = Simulation(scenario(family, seed=12, size=Size(6, 4, 0.8)), seed=1)
    run.advance(40.0)
    run.drain()
    felt = run.outcome()
    assert felt.requests > 0
    assert felt.mean_s > 0.0
    assert felt.error_ratio < 0.2


def test_a_service_that_scales_out_has_more_endpoints_later() -> None:
    case = scenario("scale_out", seed=13, size=Size(8))
    assert len(case.service(0.0).endpoints) == 6
    assert len(case.service(39.0).endpoints) == 8
    assert [station_of(e.id) for e in case.service(39.0).endpoints] == list(range(8))
