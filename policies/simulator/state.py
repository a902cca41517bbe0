"""The arrays that a run consists of, and how they are before its first event."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.simulator.case import HASHED, Algorithm, Case
from policies.simulator.steps import table

BINS, BIN_FROM, BIN_WIDTH = 1000, float(np.log(1e-5)), 0.02
"""Histograms of latencies: bins of 2 % from 10 microseconds up."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Places in `State.options`.
ALGORITHM, CHOICES, LOCALITIES, GROUPS, EJECT_AFTER, LEVELS, RATE_HOSTS, RATE_REQUESTS = range(8)
SHARING, NETWORK = range(8, 10)
# Places in `State.numbers`.
BIAS, TIMEOUT_S, EJECT_S, EJECT_MOST, QUEUE_LIMIT, EJECT_LONGEST_S, RATE_FACTOR = range(7)
PANIC_BELOW, OVERPROVISIONING, PENALTY, BLACKOUT_S, EXPIRY_S, PEAK_DECAY_S = range(7, 13)
PEAK_DEFAULT_S, WINDOW_FROM_S = range(13, 15)
# Places in `State.timer_s` and `State.every_s`: the first of all; then each.
SOONEST, SWEEP, REPORT, REWEIGH = range(4)


class State(NamedTuple):
    """All arrays of a run.

    n endpoints, p proxies, b balancers (their worker threads), r requests, k classes, x regions.
    """

    # The requests, in order of arrival: (r,) each.
    arrives_s: Floats
    balancer: Ints
    work_s: Floats
    luck: Floats
    """Uniform: below the endpoint's failure probability the request fails."""
    sampled: Bools
    endpoint: NDArray[np.int32]
    generation_of: NDArray[np.int32]
    fine: Bools
    open: Bools
    """In service at an endpoint that shares, so that its end is not known yet."""
    klass: NDArray[np.int8]
    """(r,), or (1,) where there is one class."""
    key: NDArray[np.uint64]
    """(r,), or (1,) where nothing is hashed."""
    # The endpoints.
    workers: Ints
    free_at_s: Floats
    """(n, most workers) when each worker will have nothing left to do."""
    speed_from_s: Floats
    """(n, s) where the segments of the speed begin; ends with infinity."""
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
    cold: Floats
    warm_after: Floats
    given: Ints
    """(n,) requests that were given to it."""
    sharing: Bools
    attained: Floats
    """(n,) work that each request present for all of the busy time has got."""
    attained_s: Floats
    """(n,) the time that `attained` stands for."""
    jobs: Ints
    """(n,) requests in service, those that clients gave up included."""
    version: Ints
    """(n,) an event of an older version says nothing."""
    goal: Floats
    """(n, most) heaps: what `attained` is when a request is done."""
    goal_of: Ints
    place: Ints
    """(n,) its region."""
    # Where the balancers are.
    proxy_of: Ints
    """(b,)"""
    region_of: Ints
    """(b,)"""
    network_s: Floats
    """(x, x) one way."""
    in_flight: NDArray[np.int32]
    """(p, n) what each proxy has in flight: Envoy's `rq_active`, which its workers share."""
    # What each balancer knows and where its schedules stand.
    due: Floats
    """(b, n) deadlines of the weighted schedule over endpoints."""
    group_time: Floats
    """(b, g) how far that schedule has come in each group."""
    turn: Ints
    """(b, g) position of plain round robin."""
    group_due: Floats
    """(b, g) deadlines of the schedule over groups."""
    peak_s: Floats
    """(b, n) Peak EWMA's latency, 0 before the first."""
    peak_at_s: Floats
    # What each proxy knows: outlier detection and ORCA are shared by its workers.
    strikes: NDArray[np.int32]
    """(p, n) failures in a row."""
    ejected_s: Floats
    """(p, n) since when it has been ejected, or infinity."""
    backoff: NDArray[np.int32]
    """(p, n) how many times `EJECT_S` an ejection lasts."""
    back_s: Floats
    """(p, n) when it came back, or infinity."""
    ejected: Ints
    """(p,) how many are."""
    shut: Bools
    """(p, n) ejected, and believed to be."""
    level_load: Floats
    """(p, levels) parts of the traffic that go to each priority."""
    answered: Floats
    """(p, n) in this interval."""
    answered_well: Floats
    said: Floats
    """(p, n) the weight that the newest ORCA report gives, 0 without any."""
    said_since_s: Floats
    said_at_s: Floats
    own_weight: Floats
    """(p, n) CSWRR's weights in force."""
    own_equal: Bools
    """(p,)"""
    # How traffic is to be split; n + 1 long so that it never has to grow.
    members: Ints
    group_from: Ints
    group_level: Ints
    group_weight: Floats
    """(x, n + 1)"""
    host_weight: Floats
    """(x, n)"""
    group_equal: Bools
    """(x, n + 1)"""
    level_of: Ints
    """(n,) the priority of each endpoint."""
    ring: NDArray[np.uint64]
    """(x, entries) hashes in order; MAGLEV has only their number of it."""
    ring_host: Ints
    ring_size: Ints
    """(x,)"""
    # Counters.
    total: Ints
    """(n,) requests at the endpoint, over all balancers."""
    touched_s: Floats
    busy_s: Floats
    open_requests: Ints
    """(x, n) requests in flight as the proxies of each region see them."""
    open_touched_s: Floats
    in_flight_s: Floats
    """(x, n), as all counters from here on: of the proxies of each region."""
    succeeded: Floats
    failed: Floats
    latency_sum_s: Floats
    latency_count: Floats
    histogram: NDArray[np.int32]
    """(x, n, bins) of sampled successes."""
    lost: Bools
    """(p,) whether what this proxy reports of this window gets lost."""
    orca_busy_s: Floats
    """(n,) since the last report, as the next two."""
    orca_ended: Floats
    orca_failed: Floats
    reported: Floats
    """(n, 3) the newest report: requests a second, failures a second, utilisation."""
    outcome: Floats
    """(k, 4) requests by arrival: all, failed, sum of successful latencies, of their squares."""
    outcome_histogram: Ints
    """(k, bins)"""
    # Scalars.
    heap_s: Floats
    heap_of: Ints
    now_s: Floats
    position: Ints
    """Next arrival; size of the heap; the oldest request that may be open."""
    random: NDArray[np.uint64]
    options: Ints
    numbers: Floats
    timer_s: Floats
    every_s: Floats


def fresh(case: Case, seed: int) -> State:
    """The state of a run before its first event."""
    source = np.random.SeedSequence(seed).spawn(4)
    arrivals = np.random.Generator(np.random.PCG64(source[0]))
    requests = np.random.Generator(np.random.PCG64(source[1]))
    others = np.random.Generator(np.random.PCG64(source[3]))
    arrives = case.traffic.arrivals(case.duration_s, arrivals)
    r, n, x = len(arrives), len(case.stations), len(case.regions)
    p, b = case.proxies, case.proxies * case.workers_per_proxy
    levels = max(s.priority for s in case.stations) + 1
    speed_from, speed = table([s.speed for s in case.stations])
    fails_from, fails = table([s.fails for s in case.stations])
    most = max(s.workers for s in case.stations)
    rules = case.balancing
    hashed = rules.algorithm in HASHED
    sharing = np.array([s.sharing for s in case.stations])
    network = np.array(case.network_s, np.float64)
    simple = not sharing.any() and not network.any()
    goals = min(case.queue_limit, r) + 1 if sharing.any() else 0
    balancer = _balancers(case, r, requests)
    klass, scale = _classes(case, r, others, balancer)
    work = case.work.sample(r, requests) * scale
    if case.traffic.trace is not None and case.traffic.trace.work_s is not None:
        work = case.traffic.trace.work_s[:r].copy()
    cswrr = rules.algorithm is Algorithm.CSWRR
    return State(
        arrives_s=arrives,
        balancer=balancer,
        work_s=work,
        luck=requests.random(r),
        sampled=requests.random(r) < case.sampling,
        endpoint=np.zeros(r, np.int32),
        generation_of=np.zeros(r, np.int32),
        fine=np.zeros(r, np.bool_),
        open=np.zeros(r if sharing.any() else 1, np.bool_),
        klass=klass,
        key=case.keys.sample(r, others) if hashed else np.zeros(1, np.uint64),
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
        cold=np.array([s.cold for s in case.stations]),
        warm_after=np.array([s.warm_after for s in case.stations]),
        given=np.zeros(n, np.int64),
        sharing=sharing,
        attained=np.zeros(n),
        attained_s=np.zeros(n),
        jobs=np.zeros(n, np.int64),
        version=np.zeros(n, np.int64),
        goal=np.empty((n, goals)),
        goal_of=np.empty((n, goals), np.int64),
        place=np.array([s.region for s in case.stations], np.int64),
        proxy_of=np.arange(b) // case.workers_per_proxy,
        region_of=np.repeat(np.array(case.proxies_of, np.int64), case.workers_per_proxy),
        network_s=network,
        in_flight=np.zeros((p, n), np.int32),
        due=np.zeros((b, n)),
        group_time=np.zeros((b, n)),
        turn=np.zeros((b, n), np.int64),
        group_due=np.zeros((b, n)),
        peak_s=np.zeros((b, n)),
        peak_at_s=np.zeros((b, n)),
        strikes=np.zeros((p, n), np.int32),
        ejected_s=np.full((p, n), np.inf),
        backoff=np.zeros((p, n), np.int32),
        back_s=np.full((p, n), np.inf),
        ejected=np.zeros(p, np.int64),
        shut=np.zeros((p, n), np.bool_),
        level_load=np.tile(np.eye(1, levels), (p, 1)),
        answered=np.zeros((p, n)),
        answered_well=np.zeros((p, n)),
        said=np.zeros((p, n)),
        said_since_s=np.full((p, n), np.inf),
        said_at_s=np.full((p, n), -np.inf),
        own_weight=np.ones((p, n)),
        own_equal=np.ones(p, np.bool_),
        members=np.zeros(n + 1, np.int64),
        group_from=np.zeros(n + 1, np.int64),
        group_level=np.zeros(n + 1, np.int64),
        group_weight=np.ones((x, n + 1)),
        host_weight=np.ones((x, n)),
        group_equal=np.ones((x, n + 1), np.bool_),
        level_of=np.array([s.priority for s in case.stations], np.int64),
        ring=np.zeros((x, 1), np.uint64),
        ring_host=np.zeros((x, 1), np.int64),
        ring_size=np.ones(x, np.int64),
        total=np.zeros(n, np.int64),
        touched_s=np.zeros(n),
        busy_s=np.zeros(n),
        open_requests=np.zeros((x, n), np.int64),
        open_touched_s=np.zeros((x, n)),
        in_flight_s=np.zeros((x, n)),
        succeeded=np.zeros((x, n)),
        failed=np.zeros((x, n)),
        latency_sum_s=np.zeros((x, n)),
        latency_count=np.zeros((x, n)),
        histogram=np.zeros((x, n, BINS), np.int32),
        lost=np.zeros(p, np.bool_),
        orca_busy_s=np.zeros(n),
        orca_ended=np.zeros(n),
        orca_failed=np.zeros(n),
        reported=np.zeros((n, 3)),
        outcome=np.zeros((len(case.classes), 4)),
        outcome_histogram=np.zeros((len(case.classes), BINS), np.int64),
        heap_s=np.empty(r + 1 if simple else 4 * r + n + 2),
        heap_of=np.empty(r + 1 if simple else 4 * r + n + 2, np.int64),
        now_s=np.zeros(1),
        position=np.zeros(3, np.int64),
        random=np.array([source[2].generate_state(1, np.uint64)[0]], np.uint64),
        options=_options(case, levels, sharing=bool(sharing.any()), network=bool(network.any())),
        numbers=_numbers(case),
        timer_s=np.array(
            [
                0.0,
                rules.eject_interval_s if rules.eject_after else np.inf,
                rules.orca.window_s if cswrr else np.inf,
                rules.orca.update_s if cswrr else np.inf,
            ]
        ),
        every_s=np.array(
            [np.inf, rules.eject_interval_s, rules.orca.window_s, rules.orca.update_s]
        ),
    )


def _balancers(case: Case, count: int, random: np.random.Generator) -> Ints:
    b = case.proxies * case.workers_per_proxy
    if not case.region_traffic:
        return random.integers(0, b, count)
    of = np.repeat(np.array(case.proxies_of), case.workers_per_proxy)
    odds = np.array(case.region_traffic)[of] / np.bincount(of)[of]
    return random.choice(b, count, p=odds / odds.sum())


def _classes(
    case: Case, count: int, random: np.random.Generator, balancer: Ints
) -> tuple[NDArray[np.int8], Floats | float]:
    """(r,) the class of each request, and by how much it multiplies its work.

    `balancer` (r,) is where each arrives.
    """
    if len(case.classes) == 1:
        return np.zeros(1, np.int8), case.classes[0].work
    parts = [one.part for one in case.classes]
    if case.class_by_region:
        of = np.repeat(np.array(case.proxies_of), case.workers_per_proxy)
        klass = of[balancer].astype(np.int8)
    else:
        klass = random.choice(len(parts), count, p=parts).astype(np.int8)
    return klass, np.array([one.work for one in case.classes])[klass]


def _options(case: Case, levels: int, *, sharing: bool, network: bool) -> Ints:
    rules, made = case.balancing, np.zeros(10, np.int64)
    made[ALGORITHM], made[CHOICES], made[GROUPS] = rules.algorithm, rules.choices, 1
    made[EJECT_AFTER], made[LEVELS] = rules.eject_after, levels
    made[RATE_HOSTS], made[RATE_REQUESTS] = rules.success_rate_hosts, rules.success_rate_requests
    made[SHARING], made[NETWORK] = sharing, network
    return made


def _numbers(case: Case) -> Floats:
    rules, made = case.balancing, np.zeros(15)
    made[BIAS], made[TIMEOUT_S] = rules.active_request_bias, case.timeout_s
    made[EJECT_S], made[EJECT_MOST] = rules.eject_s, rules.eject_most
    made[EJECT_LONGEST_S] = max(rules.eject_longest_s, rules.eject_s)
    made[QUEUE_LIMIT], made[RATE_FACTOR] = case.queue_limit, rules.success_rate_factor
    made[PANIC_BELOW], made[OVERPROVISIONING] = rules.panic_below, rules.overprovisioning
    made[PENALTY] = rules.orca.error_utilization_penalty
    made[BLACKOUT_S], made[EXPIRY_S] = rules.orca.blackout_s, rules.orca.expiry_s
    made[PEAK_DECAY_S], made[PEAK_DEFAULT_S] = rules.peak_decay_s, rules.peak_default_s
    return made
