"""Compiled: the event loop. Arrivals, picks, queues, completions.

Where endpoints serve first come, first served and are near, a request's whole fate is known when it
arrives, and one event waits in the heap for it: the moment at which it leaves its proxy. On the way
to an endpoint that is far, or served by one that shares its workers, it takes more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.simulator.compiled import compiled, entry, seldom
from policies.simulator.events import ENDS, LEAVES, REACHES, SHARED, bin_of, pop, push
from policies.simulator.outliers import answered, believe, sweep
from policies.simulator.picks import CSWRR, PEAK_EWMA, pick, restart_all
from policies.simulator.reports import feel, hear, report, reweigh
from policies.simulator.serving import announce, depart, effort, join, serve
from policies.simulator.state import (
    ALGORITHM,
    EJECT_AFTER,
    NETWORK,
    QUEUE_LIMIT,
    REPORT,
    REWEIGH,
    SHARING,
    SOONEST,
    SWEEP,
    TIMEOUT_S,
    WINDOW_FROM_S,
    Ints,
    State,
)

CLOSES, NOTHING = 4, 5
"""Besides what waits in the heap: the fate of an open request is known; nothing happens."""
REFUSAL_S = 1e-3
"""How long it takes to be told 503."""


@entry
def restart(s: State) -> None:
    """New weights, or other endpoints, are in force."""
    for p in range(s.shut.shape[0]):
        believe(s, p)
    restart_all(s)


@compiled
def _touch(s: State, e: int) -> None:
    """Bring the integrals of the endpoint over time up to now."""
    now = s.now_s[0]
    busy = (now - s.touched_s[e]) * min(s.total[e], s.workers[e])
    s.busy_s[e] += busy
    s.orca_busy_s[e] += busy
    s.touched_s[e] = now


@compiled
def _touch_open(s: State, x: int, e: int) -> None:
    """The same for what the proxies of a region have in flight there."""
    now = s.now_s[0]
    s.in_flight_s[x, e] += (now - s.open_touched_s[x, e]) * s.open_requests[x, e]
    s.open_touched_s[x, e] = now


@compiled
def _wait(s: State, when: float, i: int, kind: int) -> None:
    push(s.heap_s, s.heap_of, s.position[1], when, i * 4 + kind)
    s.position[1] += 1


@compiled
def _known(s: State, i: int, fine: bool, latency: float) -> None:
    """What a request gets is certain now."""
    k = s.klass[i] if len(s.klass) > 1 else 0
    s.fine[i] = fine
    s.outcome[k, 0] += 1.0
    if fine:
        s.outcome[k, 2] += latency
        s.outcome[k, 3] += latency**2
        s.outcome_histogram[k, bin_of(latency)] += 1
    else:
        s.outcome[k, 1] += 1.0


@compiled
def _arrive(s: State, i: int) -> bool:
    """A request arrives and is sent on; whether it is at its endpoint at once."""
    b, now = s.balancer[i], s.arrives_s[i]
    s.now_s[0] = now
    x, e = s.region_of[b], pick(s, b, i)
    _touch_open(s, x, e)
    s.open_requests[x, e] += 1
    s.in_flight[s.proxy_of[b], e] += 1
    s.endpoint[i], s.generation_of[i] = e, s.generation[e]
    if s.sharing[e]:
        s.open[i] = True
    if s.options[NETWORK] and s.network_s[x, s.place[e]] > 0.0:
        _wait(s, now + s.network_s[x, s.place[e]], i, REACHES)
        return False
    return True


@compiled
def _way(s: State, i: int) -> float:
    """Seconds between the request's proxy and its endpoint, one way."""
    if not s.options[NETWORK]:
        return 0.0
    return float(s.network_s[s.region_of[s.balancer[i]], s.place[s.endpoint[i]]])


@compiled
def _reach(s: State, i: int) -> int:
    """The request is at its endpoint. Returns the endpoint if it shares its workers, or -1."""
    e, now, way = s.endpoint[i], s.now_s[0], _way(s, i)
    deadline = s.arrives_s[i] + s.numbers[TIMEOUT_S]
    while s.fails_from_s[e, s.fail_segment[e] + 1] <= now:
        s.fail_segment[e] += 1
    fine = s.luck[i] >= s.fails[e, s.fail_segment[e]]
    refused = max(s.total[e], s.jobs[e]) >= s.numbers[QUEUE_LIMIT]
    _touch(s, e)
    s.total[e] += 1
    ends = now + REFUSAL_S
    if not refused:
        work = effort(s, e, s.work_s[i] if fine else s.work_s[i] * s.fail_work[e])
        s.given[e] += 1
        if s.sharing[e]:
            s.fine[i] = fine
            join(s, e, i, work)
            return int(e)
        ends = serve(s, e, work)
    elif s.sharing[e]:
        s.open[i] = False
    leaves = min(ends + way, deadline)
    _known(s, i, fine and not refused and ends + way <= deadline, leaves - s.arrives_s[i])
    if way > 0.0:
        _wait(s, min(ends, deadline), i, ENDS)
    else:
        _wait(s, leaves, i, LEAVES)
    return -1


@compiled
def _close(s: State, i: int, fine: bool) -> None:
    """A request at an endpoint that shares ends there, or is given up by its proxy."""
    leaves, deadline = s.now_s[0] + _way(s, i), s.arrives_s[i] + s.numbers[TIMEOUT_S]
    s.open[i] = False
    _known(s, i, fine and leaves <= deadline, min(leaves, deadline) - s.arrives_s[i])


@compiled
def _end(s: State, i: int) -> None:
    """The endpoint is done with the request, whose answer is on its way."""
    e = s.endpoint[i]
    _touch(s, e)
    s.total[e] -= 1
    deadline = s.arrives_s[i] + s.numbers[TIMEOUT_S]
    _wait(s, min(s.now_s[0] + _way(s, i), deadline), i, LEAVES)


@compiled
def _leave(s: State, i: int) -> None:
    """The proxy has the answer, or gives it up."""
    e, b = s.endpoint[i], s.balancer[i]
    x, p, fine = s.region_of[b], s.proxy_of[b], s.fine[i]
    if _way(s, i) == 0.0:
        _touch(s, e)
        s.total[e] -= 1
    _touch_open(s, x, e)
    s.open_requests[x, e] -= 1
    if s.generation_of[i] == s.generation[e]:
        s.in_flight[p, e] -= 1
    _learn(s, i, e, b, p, fine)
    if s.lost[p]:
        s.in_flight_s[x, e] -= s.now_s[0] - max(s.arrives_s[i], s.numbers[WINDOW_FROM_S])
    elif fine:
        s.succeeded[x, e] += 1.0
        if s.sampled[i]:
            latency = s.now_s[0] - s.arrives_s[i]
            s.latency_sum_s[x, e] += latency
            s.latency_count[x, e] += 1.0
            s.histogram[x, e, bin_of(latency)] += 1
    else:
        s.failed[x, e] += 1.0


@compiled
def _learn(s: State, i: int, e: int, b: int, p: int, fine: bool) -> None:
    """What the balancer makes of an answer."""
    if s.options[EJECT_AFTER] > 0:
        answered(s, p, e, fine)
    if s.options[ALGORITHM] == CSWRR:
        s.orca_ended[e] += 1.0
        if not fine:
            s.orca_failed[e] += 1.0
        hear(s, p, e)
    elif s.options[ALGORITHM] == PEAK_EWMA and fine:
        feel(s, b, e, s.now_s[0] - s.arrives_s[i])


@compiled
def _given_up(s: State) -> float:
    """When the next open request is given up: all wait equally long, so they are in order."""
    if not s.options[SHARING]:
        return np.inf
    while s.position[2] < s.position[0] and not s.open[s.position[2]]:
        s.position[2] += 1
    if s.position[2] == s.position[0]:
        return np.inf
    return float(s.arrives_s[s.position[2]] + s.numbers[TIMEOUT_S])


@seldom
def _timers(s: State) -> None:
    """What happens at multiples of an interval, for which `now` has come."""
    if s.timer_s[SWEEP] <= s.now_s[0]:
        sweep(s)
        s.timer_s[SWEEP] += s.every_s[SWEEP]
    if s.timer_s[REPORT] <= s.now_s[0]:
        for e in range(len(s.workers)):
            _touch(s, e)
        report(s)
        s.timer_s[REPORT] += s.every_s[REPORT]
    if s.timer_s[REWEIGH] <= s.now_s[0]:
        reweigh(s)
        s.timer_s[REWEIGH] += s.every_s[REWEIGH]
    s.timer_s[SOONEST] = min(s.timer_s[SWEEP], s.timer_s[REPORT], s.timer_s[REWEIGH])


@compiled
def _pop(s: State) -> tuple[int, int, int]:
    """What waited for now: what it is, of which request, at which endpoint that shares."""
    what = s.heap_of[0]
    pop(s.heap_s, s.heap_of, s.position[1])
    s.position[1] -= 1
    kind, i = what & 3, what >> 2
    if kind != SHARED:
        return kind, i, -1
    e = i % len(s.workers)
    if s.version[e] != i // len(s.workers):  # another request came meanwhile
        return NOTHING, -1, -1
    i = depart(s, e)
    return CLOSES if s.open[i] else NOTHING, i, e


@compiled
def _step(s: State, waits: float, arrives: float, given_up: float) -> None:
    """Play what is next. Each part stands here once, because all of it is inlined."""
    kind, i, shares, fine = NOTHING, -1, -1, True
    if given_up < min(waits, arrives):
        s.now_s[0] = given_up
        kind, i, fine = CLOSES, s.position[2], False
    elif waits <= arrives:
        s.now_s[0] = waits
        kind, i, shares = _pop(s)
    else:
        i = s.position[0]
        s.position[0] += 1
        if _arrive(s, i):
            kind = REACHES
    if kind == REACHES:
        shares = _reach(s, i)
    if shares >= 0:
        announce(s, shares)
    if kind == CLOSES:
        _close(s, i, fine and s.fine[i])
        kind = ENDS if _way(s, i) > 0.0 else LEAVES
    if kind == ENDS:
        _end(s, i)
    elif kind == LEAVES:
        _leave(s, i)


@entry
def advance(s: State, until_s: float, arrivals: bool) -> None:
    """Play everything up to a time; without `arrivals` only what is on its way."""
    while True:
        waits = s.heap_s[0] if s.position[1] > 0 else np.inf
        arrives = np.inf
        if arrivals and s.position[0] < len(s.arrives_s):
            arrives = s.arrives_s[s.position[0]]
        given_up = _given_up(s)
        soonest = min(waits, arrives, given_up)
        if s.timer_s[SOONEST] <= min(soonest, until_s) < np.inf:
            s.now_s[0] = max(s.timer_s[SOONEST], s.now_s[0])
            _timers(s)
            continue
        if soonest > until_s or soonest == np.inf:
            break
        _step(s, waits, arrives, given_up)
    if until_s < np.inf:
        s.now_s[0] = until_s
        for e in range(len(s.total)):
            _touch(s, e)
            for x in range(s.open_requests.shape[0]):
                _touch_open(s, x, e)


@entry
def quantile_bins(histogram: NDArray[np.int32], q: float, bins: Ints) -> None:
    """For each row the bin in which its quantile lies, -1 for an empty row."""
    for row in range(histogram.shape[0]):
        count = 0
        for k in range(histogram.shape[1]):
            count += histogram[row, k]
        bins[row] = -1
        if count == 0:
            continue
        wanted = max(np.ceil(q * count), 1.0)
        below = 0
        for k in range(histogram.shape[1]):
            below += histogram[row, k]
            if below >= wanted:
                bins[row] = k
                break
