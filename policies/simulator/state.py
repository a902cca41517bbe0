"""The arrays that a run consists of, and how they are before its first event."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.simulator.case import Case
from policies.simulator.steps import table

BINS, BIN_FROM, BIN_WIDTH = 1000, float(np.log(1e-5)), 0.02
"""Histograms of latencies: bins of 2 % from 10 microseconds up."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class State(NamedTuple):
    """All arrays of a run. n endpoints, b balancers (worker threads of proxies), r requests."""

    # The requests, in order of arrival: (r,) each.
    arrives_s: Floats
    balancer: Ints
    work_s: Floats
    luck: Floats
    """Uniform: below the endpoint's failure probability the request fails."""
    sampled: NDArray[np.bool_]
    endpoint: NDArray[np.int32]
    generation_of: NDArray[np.int32]
    fine: NDArray[np.bool_]
    # The endpoints.
    workers: Ints
    free_at_s: Floats
    """(n, most workers) when each worker will have nothing left to do."""
    speed_from_s: Floats
    """(n, k) where the segments of the speed begin; ends with infinity."""
    speed: Floats
    segment: Ints
    """(n,) the segment in which the newest request started."""
    fails_from_s: Floats
    fails: Floats
    fail_segment: Ints
    fail_work: Floats
    """(n,) part of the work that a failing request costs."""
    generation: NDArray[np.int32]
    """(n,) counts how often Envoy made the host anew, which forgets its requests in flight."""
    # What each balancer knows and where its schedules stand.
    in_flight: NDArray[np.int32]
    """(b, n)"""
    due: Floats
    """(b, n) deadlines of the weighted schedule over endpoints."""
    group_time: Floats
    """(b, g) how far that schedule has come in each group."""
    turn: Ints
    """(b, g) position of plain round robin."""
    group_due: Floats
    """(b, g) deadlines of the schedule over groups."""
    strikes: NDArray[np.int32]
    """(b, n) failures in a row."""
    ejected_until_s: Floats
    ejections: NDArray[np.int32]
    # How traffic is to be split; n + 1 long so that it never has to grow.
    members: Ints
    group_from: Ints
    group_weight: Floats
    host_weight: Floats
    group_equal: NDArray[np.bool_]
    # Counters.
    total: Ints
    """(n,) requests at the endpoint, over all balancers."""
    touched_s: Floats
    succeeded: Floats
    failed: Floats
    in_flight_s: Floats
    busy_s: Floats
    latency_sum_s: Floats
    latency_count: Floats
    histogram: NDArray[np.int32]
    """(n, bins) of sampled successes."""
    outcome: Floats
    """Requests by arrival: all, failed, sum of successful latencies, sum of their squares."""
    outcome_histogram: Ints
    # Scalars.
    heap_s: Floats
    heap_of: Ints
    now_s: Floats
    position: Ints
    """Next arrival; size of the heap."""
    random: NDArray[np.uint64]
    options: Ints
    """Algorithm, choices, whether groups carry weights, groups, ejection after so many failures."""
    numbers: Floats
    """Bias, timeout, seconds of a first ejection, greatest ejected part, queue limit."""


def fresh(case: Case, seed: int) -> State:
    """The state of a run before its first event."""
    source = np.random.SeedSequence(seed).spawn(3)
    arrivals = np.random.Generator(np.random.PCG64(source[0]))
    requests = np.random.Generator(np.random.PCG64(source[1]))
    arrives = case.traffic.arrivals(case.duration_s, arrivals)
    r, n = len(arrives), len(case.stations)
    b = case.proxies * case.workers_per_proxy
    speed_from, speed = table([s.speed for s in case.stations])
    fails_from, fails = table([s.fails for s in case.stations])
    most = max(s.workers for s in case.stations)
    rules = case.balancing
    return State(
        arrives_s=arrives,
        balancer=requests.integers(0, b, r),
        work_s=case.work.sample(r, requests),
        luck=requests.random(r),
        sampled=requests.random(r) < case.sampling,
        endpoint=np.zeros(r, np.int32),
        generation_of=np.zeros(r, np.int32),
        fine=np.zeros(r, np.bool_),
        workers=np.array([s.workers for s in case.stations], np.int64),
        free_at_s=np.zeros((n, most)),
        speed_from_s=speed_from,
        speed=speed,
        segment=np.zeros(n, np.int64),
        fails_from_s=fails_from,
        fails=fails,
        fail_segment=np.zeros(n, np.int64),
        fail_work=np.array([s.fail_work for s in case.stations]),
        generation=np.zeros(n, np.int32),
        in_flight=np.zeros((b, n), np.int32),
        due=np.zeros((b, n)),
        group_time=np.zeros((b, n)),
        turn=np.zeros((b, n), np.int64),
        group_due=np.zeros((b, n)),
        strikes=np.zeros((b, n), np.int32),
        ejected_until_s=np.full((b, n), -np.inf),
        ejections=np.zeros((b, n), np.int32),
        members=np.zeros(n + 1, np.int64),
        group_from=np.zeros(n + 1, np.int64),
        group_weight=np.ones(n + 1),
        host_weight=np.ones(n + 1),
        group_equal=np.ones(n + 1, np.bool_),
        total=np.zeros(n, np.int64),
        touched_s=np.zeros(n),
        succeeded=np.zeros(n),
        failed=np.zeros(n),
        in_flight_s=np.zeros(n),
        busy_s=np.zeros(n),
        latency_sum_s=np.zeros(n),
        latency_count=np.zeros(n),
        histogram=np.zeros((n, BINS), np.int32),
        outcome=np.zeros(4),
        outcome_histogram=np.zeros(BINS, np.int64),
        heap_s=np.empty(r + 1),
        heap_of=np.empty(r + 1, np.int64),
        now_s=np.zeros(1),
        position=np.zeros(2, np.int64),
        random=np.array([source[2].generate_state(1, np.uint64)[0]], np.uint64),
        options=np.array([rules.algorithm, rules.choices, 0, 1, rules.eject_after], np.int64),
        numbers=np.array(
            [
                rules.active_request_bias,
                case.timeout_s,
                rules.eject_s,
                rules.eject_most,
                float(case.queue_limit),
            ]
        ),
    )
