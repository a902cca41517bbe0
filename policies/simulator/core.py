"""The event loop of the simulator, compiled by numba: arrivals, picks, queues, completions.

Everything compiled stands in this one module because numba's cache of machine code notices a
change only of the file that it was compiled from.

A request's whole fate is known when it arrives: endpoints serve first come, first served, and
their speeds are given beforehand as functions of time. So the only event that waits in the heap
is the moment at which the request leaves its proxy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.simulator.case import Algorithm
from policies.simulator.compiled import compiled
from policies.simulator.state import BIN_FROM, BIN_WIDTH, BINS, Floats, Ints, State

ROUND_ROBIN, CHOICES = int(Algorithm.ROUND_ROBIN), int(Algorithm.LEAST_REQUEST)


@compiled
def _uniform(random: NDArray[np.uint64]) -> float:
    """The next number of splitmix64, in [0, 1)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def _push(heap_s: Floats, heap_of: Ints, size: int, when: float, what: int) -> None:
    i = size
    while i > 0:
        parent = (i - 1) // 2
        if heap_s[parent] <= when:
            break
        heap_s[i], heap_of[i] = heap_s[parent], heap_of[parent]
        i = parent
    heap_s[i], heap_of[i] = when, what


@compiled
def _pop(heap_s: Floats, heap_of: Ints, size: int) -> None:
    """Take the first out of a heap that had `size` entries."""
    last, what = heap_s[size - 1], heap_of[size - 1]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size - 1:
            break
        if child + 1 < size - 1 and heap_s[child + 1] < heap_s[child]:
            child += 1
        if heap_s[child] >= last:
            break
        heap_s[i], heap_of[i] = heap_s[child], heap_of[child]
        i = child
    heap_s[i], heap_of[i] = last, what


@compiled
def restart(s: State) -> None:
    """Begin every schedule anew, as Envoy does when weights change.

    Envoy lets a new schedule make a random number of picks first, so that proxies do not all
    begin with the heaviest: the same as looking at the endless schedule from a random time on.
    """
    groups = s.options[3]
    for b in range(s.in_flight.shape[0]):
        total = 0.0
        for g in range(groups):
            total += s.group_weight[g]
        seen = _uniform(s.random) * 1000.0 / total
        for g in range(groups):
            weight = s.group_weight[g]
            s.group_due[b, g] = (np.floor(seen * weight) + 1.0) / weight - seen
            first, end = s.group_from[g], s.group_from[g + 1]
            s.turn[b, g] = int(_uniform(s.random) * 1e9)
            s.group_time[b, g] = 0.0
            inside = 0.0
            for m in range(first, end):
                inside += s.host_weight[s.members[m]]
            ahead = _uniform(s.random) * 1000.0 / inside
            for m in range(first, end):
                host = s.members[m]
                weight = s.host_weight[host]
                s.due[b, host] = (np.floor(ahead * weight) + 1.0) / weight - ahead


@compiled
def _available(s: State, b: int, g: int) -> float:
    """Part of the group's endpoints that the balancer has not ejected."""
    first, end = s.group_from[g], s.group_from[g + 1]
    count = 0
    for m in range(first, end):
        if s.ejected_until_s[b, s.members[m]] <= s.now_s[0]:
            count += 1
    return float(count / (end - first))


@compiled
def _pick_group(s: State, b: int) -> int:
    """Envoy's weighted schedule over localities: the earliest deadline goes first."""
    groups = s.options[3]
    ejects = s.options[4] > 0
    for _ in range(groups):
        best = 0
        for g in range(1, groups):
            if s.group_due[b, g] < s.group_due[b, best]:
                best = g
        part = 1.0
        if ejects:
            part = min(1.0, 1.4 * _available(s, b, best))
        s.group_due[b, best] += 1.0 / (s.group_weight[best] * max(part, 0.05))
        if part > 0.0:
            return best
    return best


@compiled
def _pick_scheduled(s: State, b: int, g: int) -> int:
    """The weighted schedule over endpoints; LEAST_REQUEST divides a weight by what is in flight."""
    first, end = s.group_from[g], s.group_from[g + 1]
    best = s.members[first]
    for _ in range(end - first):
        best = s.members[first]
        for m in range(first + 1, end):
            if s.due[b, s.members[m]] < s.due[b, best]:
                best = s.members[m]
        weight = s.host_weight[best]
        if s.options[0] != ROUND_ROBIN:
            weight /= (s.in_flight[b, best] + 1.0) ** s.numbers[0]
        s.group_time[b, g] = s.due[b, best]
        s.due[b, best] = s.group_time[b, g] + 1.0 / weight
        if s.ejected_until_s[b, best] <= s.now_s[0]:
            break
    return int(best)


@compiled
def _pick_in_turn(s: State, b: int, g: int) -> int:
    """Plain round robin."""
    first, size = s.group_from[g], s.group_from[g + 1] - s.group_from[g]
    host = s.members[first]
    for _ in range(size):
        s.turn[b, g] += 1
        host = s.members[first + s.turn[b, g] % size]
        if s.ejected_until_s[b, host] <= s.now_s[0]:
            break
    return int(host)


@compiled
def _pick_choices(s: State, b: int, g: int) -> int:
    """The least loaded of N that are drawn at random, with repetition."""
    first, size = s.group_from[g], s.group_from[g + 1] - s.group_from[g]
    best, tried = -1, 0
    for _ in range(20 * s.options[1]):
        host = s.members[first + int(_uniform(s.random) * size)]
        if s.ejected_until_s[b, host] > s.now_s[0]:
            continue
        if best < 0 or s.in_flight[b, host] < s.in_flight[b, best]:
            best = host
        tried += 1
        if tried >= s.options[1]:
            break
    return int(best)


@compiled
def _pick_least(s: State, b: int, g: int) -> int:
    """The least loaded of all, ties at random."""
    best, ties = -1, 0
    for m in range(s.group_from[g], s.group_from[g + 1]):
        host = s.members[m]
        if s.ejected_until_s[b, host] > s.now_s[0]:
            continue
        if best < 0 or s.in_flight[b, host] < s.in_flight[b, best]:
            best, ties = host, 1
        elif s.in_flight[b, host] == s.in_flight[b, best]:
            ties += 1
            if _uniform(s.random) * ties < 1.0:
                best = host
    return int(best)


@compiled
def _pick(s: State, b: int, g: int) -> int:
    """The endpoint of a group that gets the next request of a balancer."""
    if not s.group_equal[g]:
        return _pick_scheduled(s, b, g)
    if s.options[0] == ROUND_ROBIN:
        return _pick_in_turn(s, b, g)
    best = _pick_choices(s, b, g) if s.options[0] == CHOICES else _pick_least(s, b, g)
    if best >= 0:
        return best
    first, size = s.group_from[g], s.group_from[g + 1] - s.group_from[g]
    return int(s.members[first + int(_uniform(s.random) * size)])  # all ejected: panic


@compiled
def _serve(s: State, e: int, work: float) -> float:
    """When the endpoint will have done this work, first come, first served."""
    now = s.now_s[0]
    worker = 0
    for w in range(1, s.workers[e]):
        if s.free_at_s[e, w] < s.free_at_s[e, worker]:
            worker = w
    at = max(now, s.free_at_s[e, worker])
    while s.speed_from_s[e, s.segment[e] + 1] <= at:
        s.segment[e] += 1
    k = s.segment[e]
    left = (s.speed_from_s[e, k + 1] - at) * s.speed[e, k]
    while work > left:  # more than what this segment can do
        work -= left
        k += 1
        at = s.speed_from_s[e, k]
        left = (s.speed_from_s[e, k + 1] - at) * s.speed[e, k]
    at += work / s.speed[e, k]
    s.free_at_s[e, worker] = at
    return float(at)


@compiled
def _touch(s: State, e: int) -> None:
    """Bring the endpoint's integrals over time up to now."""
    gone = s.now_s[0] - s.touched_s[e]
    s.in_flight_s[e] += gone * s.total[e]
    s.busy_s[e] += gone * min(s.total[e], s.workers[e])
    s.touched_s[e] = s.now_s[0]


@compiled
def _bin(latency: float) -> int:
    if latency <= 1e-5:
        return 0
    return min(BINS - 1, int((np.log(latency) - BIN_FROM) / BIN_WIDTH))


@compiled
def _arrive(s: State, i: int) -> None:
    b, now = s.balancer[i], s.arrives_s[i]
    s.now_s[0] = now
    g = _pick_group(s, b) if s.options[2] else 0
    e = _pick(s, b, g)
    while s.fails_from_s[e, s.fail_segment[e] + 1] <= now:
        s.fail_segment[e] += 1
    fine = s.luck[i] >= s.fails[e, s.fail_segment[e]]
    if s.total[e] >= s.numbers[4]:
        fine, leaves = False, now + 1e-3
    else:
        leaves = _serve(s, e, s.work_s[i] if fine else s.work_s[i] * s.fail_work[e])
        if leaves > now + s.numbers[1]:
            fine, leaves = False, now + s.numbers[1]
    _touch(s, e)
    s.total[e] += 1
    s.in_flight[b, e] += 1
    s.endpoint[i], s.generation_of[i], s.fine[i] = e, s.generation[e], fine
    _push(s.heap_s, s.heap_of, s.position[1], leaves, i)
    s.position[1] += 1
    s.outcome[0] += 1.0
    if fine:
        s.outcome[2] += leaves - now
        s.outcome[3] += (leaves - now) ** 2
        s.outcome_histogram[_bin(leaves - now)] += 1
    else:
        s.outcome[1] += 1.0


@compiled
def _strike(s: State, b: int, e: int) -> None:
    """A failure in a row: at the limit the endpoint is ejected, if not too many are already."""
    s.strikes[b, e] += 1
    if s.strikes[b, e] < s.options[4] or s.ejected_until_s[b, e] > s.now_s[0]:
        return
    out, known = 1, s.group_from[s.options[3]]
    for m in range(known):
        if s.ejected_until_s[b, s.members[m]] > s.now_s[0]:
            out += 1
    if out <= s.numbers[3] * known:
        s.ejections[b, e] += 1
        s.ejected_until_s[b, e] = s.now_s[0] + s.numbers[2] * s.ejections[b, e]
        s.strikes[b, e] = 0


@compiled
def _leave(s: State) -> None:
    s.now_s[0] = s.heap_s[0]
    i = s.heap_of[0]
    _pop(s.heap_s, s.heap_of, s.position[1])
    s.position[1] -= 1
    e, b = s.endpoint[i], s.balancer[i]
    _touch(s, e)
    s.total[e] -= 1
    if s.generation_of[i] == s.generation[e]:
        s.in_flight[b, e] -= 1
    if s.fine[i]:
        s.succeeded[e] += 1.0
        s.strikes[b, e] = 0
        if s.sampled[i]:
            latency = s.now_s[0] - s.arrives_s[i]
            s.latency_sum_s[e] += latency
            s.latency_count[e] += 1.0
            s.histogram[e, _bin(latency)] += 1
    else:
        s.failed[e] += 1.0
        if s.options[4] > 0:
            _strike(s, b, e)


@compiled
def advance(s: State, until_s: float, arrivals: bool) -> None:
    """Play everything up to a time; without `arrivals` only what is on its way."""
    while True:
        leaves = s.heap_s[0] if s.position[1] > 0 else np.inf
        arrives = np.inf
        if arrivals and s.position[0] < len(s.arrives_s):
            arrives = s.arrives_s[s.position[0]]
        soonest = min(leaves, arrives)
        if soonest > until_s or soonest == np.inf:
            break
        if leaves <= arrives:
            _leave(s)
        else:
            _arrive(s, s.position[0])
            s.position[0] += 1
    if until_s < np.inf:
        s.now_s[0] = until_s
        for e in range(len(s.total)):
            _touch(s, e)


@compiled
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
