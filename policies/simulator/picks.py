"""Compiled: how a balancer picks an endpoint. Each of Envoy's, with what it knows and no more."""

from __future__ import annotations

import numpy as np

from policies.simulator.case import Algorithm
from policies.simulator.compiled import compiled
from policies.simulator.events import uniform
from policies.simulator.serving import soonest_end
from policies.simulator.state import (
    ALGORITHM,
    BIAS,
    CHOICES,
    GROUPS,
    LEVELS,
    LOCALITIES,
    OVERPROVISIONING,
    PEAK_DECAY_S,
    PEAK_DEFAULT_S,
    State,
)

ROUND_ROBIN, LEAST_REQUEST = int(Algorithm.ROUND_ROBIN), int(Algorithm.LEAST_REQUEST)
FULL_SCAN, RANDOM, CSWRR = int(Algorithm.FULL_SCAN), int(Algorithm.RANDOM), int(Algorithm.CSWRR)
RING_HASH, MAGLEV = int(Algorithm.RING_HASH), int(Algorithm.MAGLEV)
PEAK_EWMA, LEAST_WORK = int(Algorithm.PEAK_EWMA), int(Algorithm.LEAST_WORK)
TRIES = 20
"""Draws at random, for each one wanted, before a balancer takes what comes."""
UNKNOWN = 1e6
"""Peak EWMA: the cost of an endpoint that has requests in flight and never answered."""


@compiled
def weight_of(s: State, b: int, host: int) -> float:
    """The weight of an endpoint as this balancer has it."""
    if s.options[ALGORITHM] == CSWRR:
        return float(s.own_weight[s.proxy_of[b], host])
    return float(s.host_weight[s.region_of[b], host])


@compiled
def restart_hosts(s: State, b: int, g: int) -> None:
    """Begin a group's schedule anew at a random time of the endless one."""
    first, end = s.group_from[g], s.group_from[g + 1]
    s.turn[b, g] = int(uniform(s.random) * 1e9)
    s.group_time[b, g] = 0.0
    inside = 0.0
    for m in range(first, end):
        inside += weight_of(s, b, s.members[m])
    ahead = uniform(s.random) * 1000.0 / inside
    for m in range(first, end):
        host = s.members[m]
        weight = weight_of(s, b, host)
        s.due[b, host] = (np.floor(ahead * weight) + 1.0) / weight - ahead


@compiled
def restart_all(s: State) -> None:
    """Begin every schedule anew, as Envoy does when weights change.

    Envoy lets a new schedule make a random number of picks first, so that proxies do not all
    begin with the heaviest: the same as looking at the endless schedule from a random time on.
    """
    groups = s.options[GROUPS]
    for b in range(len(s.proxy_of)):
        x = s.region_of[b]
        total = 0.0
        for g in range(groups):
            total += s.group_weight[x, g]
        seen = uniform(s.random) * 1000.0 / total
        for g in range(groups):
            weight = s.group_weight[x, g]
            s.group_due[b, g] = (np.floor(seen * weight) + 1.0) / weight - seen
            restart_hosts(s, b, g)


@compiled
def _available(s: State, p: int, g: int) -> float:
    """Part of the group's endpoints that the proxy has not ejected."""
    first, end = s.group_from[g], s.group_from[g + 1]
    count = 0
    for m in range(first, end):
        if s.ejected_s[p, s.members[m]] == np.inf:
            count += 1
    return float(count / (end - first))


@compiled
def _pick_level(s: State, b: int) -> int:
    """The priority, at random by how much of the traffic each can take."""
    p, drawn = s.proxy_of[b], uniform(s.random)
    for level in range(s.options[LEVELS] - 1):
        drawn -= s.level_load[p, level]
        if drawn < 0.0:
            return level
    return int(s.options[LEVELS] - 1)


@compiled
def _pick_group(s: State, b: int, level: int) -> int:
    """Envoy's weighted schedule over localities: the earliest deadline goes first."""
    groups, p, x = s.options[GROUPS], s.proxy_of[b], s.region_of[b]
    best = 0
    for _ in range(groups):
        best = -1
        for g in range(groups):
            if s.group_level[g] == level and (best < 0 or s.group_due[b, g] < s.group_due[b, best]):
                best = g
        if best < 0:
            return 0
        part = 1.0
        if s.ejected[p] > 0:
            part = min(1.0, s.numbers[OVERPROVISIONING] * _available(s, p, best))
        s.group_due[b, best] += 1.0 / (s.group_weight[x, best] * max(part, 0.05))
        if part > 0.0:
            return best
    return best


@compiled
def _pick_scheduled(s: State, b: int, g: int) -> int:
    """The weighted schedule over endpoints.

    LEAST_REQUEST divides a weight by (in flight + 1) ^ bias, each time the endpoint is picked.
    """
    first, end, p = s.group_from[g], s.group_from[g + 1], s.proxy_of[b]
    best = s.members[first]
    for _ in range(end - first):
        best = s.members[first]
        for m in range(first + 1, end):
            if s.due[b, s.members[m]] < s.due[b, best]:
                best = s.members[m]
        weight = weight_of(s, b, best)
        if s.options[ALGORITHM] == LEAST_REQUEST or s.options[ALGORITHM] == FULL_SCAN:
            weight /= (s.in_flight[p, best] + 1.0) ** s.numbers[BIAS]
        s.group_time[b, g] = s.due[b, best]
        s.due[b, best] = s.group_time[b, g] + 1.0 / weight
        if not s.shut[p, best]:
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
        if not s.shut[s.proxy_of[b], host]:
            break
    return int(host)


@compiled
def _pick_choices(s: State, b: int, g: int) -> int:
    """The least loaded of N that are drawn at random, with repetition."""
    first, size = s.group_from[g], s.group_from[g + 1] - s.group_from[g]
    best, tried, p = -1, 0, s.proxy_of[b]
    for _ in range(TRIES * s.options[CHOICES]):
        host = s.members[first + int(uniform(s.random) * size)]
        if s.shut[p, host]:
            continue
        if best < 0 or s.in_flight[p, host] < s.in_flight[p, best]:
            best = host
        tried += 1
        if tried >= s.options[CHOICES]:
            break
    return int(best)


@compiled
def _pick_least(s: State, b: int, g: int) -> int:
    """The least loaded of all, ties at random."""
    best, ties, p = -1, 0, s.proxy_of[b]
    for m in range(s.group_from[g], s.group_from[g + 1]):
        host = s.members[m]
        if s.shut[p, host]:
            continue
        if best < 0 or s.in_flight[p, host] < s.in_flight[p, best]:
            best, ties = host, 1
        elif s.in_flight[p, host] == s.in_flight[p, best]:
            ties += 1
            if uniform(s.random) * ties < 1.0:
                best = host
    return int(best)


@compiled
def _pick_random(s: State, b: int, g: int) -> int:
    first, size = s.group_from[g], s.group_from[g + 1] - s.group_from[g]
    for _ in range(TRIES):
        host = s.members[first + int(uniform(s.random) * size)]
        if not s.shut[s.proxy_of[b], host]:
            return int(host)
    return -1


@compiled
def _peak_cost(s: State, b: int, host: int) -> float:
    """Finagle's: the moving average decays while nothing comes, times what would be in flight."""
    known, active = s.peak_s[b, host], float(s.in_flight[s.proxy_of[b], host])
    if known > 0.0:
        idle = s.now_s[0] - s.peak_at_s[b, host]
        return float(known * np.exp(-idle / s.numbers[PEAK_DECAY_S]) * (active + 1.0))
    if active > 0.0:
        return UNKNOWN + active
    return float(s.numbers[PEAK_DEFAULT_S])


@compiled
def _pick_peak(s: State, b: int, g: int) -> int:
    """The cheaper of two different ones."""
    first, size = s.group_from[g], s.group_from[g + 1] - s.group_from[g]
    one = _pick_random(s, b, g)
    if one < 0 or size == 1:
        return one
    for _ in range(TRIES):
        other = s.members[first + int(uniform(s.random) * size)]
        if other != one and not s.shut[s.proxy_of[b], other]:
            return int(other) if _peak_cost(s, b, other) < _peak_cost(s, b, one) else one
    return one


@compiled
def _pick_least_work(s: State, b: int, g: int, work: float) -> int:
    """Where a request of this work would end first."""
    best, soonest = -1, np.inf
    for m in range(s.group_from[g], s.group_from[g + 1]):
        host = s.members[m]
        if s.shut[s.proxy_of[b], host]:
            continue
        way = s.network_s[s.region_of[b], s.place[host]]
        end = soonest_end(s, host, s.now_s[0] + way, work) + way
        if end < soonest:
            best, soonest = host, end
    return int(best)


@compiled
def _pick_hashed(s: State, b: int, key: np.uint64) -> int:
    """The first from the key's place in the ring, or in the table, on, that is not ejected."""
    x = s.region_of[b]
    size = s.ring_size[x]
    at = np.int64(0)
    if s.options[ALGORITHM] == MAGLEV:
        at = np.int64(key % np.uint64(size))  # int() of it would stay unsigned
    else:
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            if s.ring[x, middle] < key:
                low = middle + 1
            else:
                high = middle
        at = low % size
    for step in range(size):
        host = s.ring_host[x, (at + step) % size]
        if not s.shut[s.proxy_of[b], host]:
            return int(host)
    return int(s.ring_host[x, at])


@compiled
def _pick_any(s: State, b: int, g: int) -> int:
    """The first from a random one on that is not ejected; that one, if all are."""
    first, size = s.group_from[g], s.group_from[g + 1] - s.group_from[g]
    start = int(uniform(s.random) * size)
    for step in range(size):
        host = s.members[first + (start + step) % size]
        if not s.shut[s.proxy_of[b], host]:
            return int(host)
    return int(s.members[first + start])


@compiled
def _pick_in(s: State, b: int, g: int, work: float) -> int:
    """The endpoint of a group that gets the next request of a balancer."""
    algorithm = s.options[ALGORITHM]
    if algorithm == CSWRR:
        equal = s.own_equal[s.proxy_of[b]]
        return _pick_in_turn(s, b, g) if equal else _pick_scheduled(s, b, g)
    if algorithm <= FULL_SCAN and not s.group_equal[s.region_of[b], g]:
        return _pick_scheduled(s, b, g)
    best = -1
    if algorithm == ROUND_ROBIN:
        return _pick_in_turn(s, b, g)
    if algorithm == LEAST_REQUEST:
        best = _pick_choices(s, b, g)
    elif algorithm == FULL_SCAN:
        best = _pick_least(s, b, g)
    elif algorithm == RANDOM:
        best = _pick_random(s, b, g)
    elif algorithm == PEAK_EWMA:
        best = _pick_peak(s, b, g)
    else:
        best = _pick_least_work(s, b, g, work)
    if best >= 0:
        return best
    return _pick_any(s, b, g)


@compiled
def pick(s: State, b: int, i: int) -> int:
    """The endpoint that request `i` goes to from balancer `b`."""
    if s.options[ALGORITHM] == RING_HASH or s.options[ALGORITHM] == MAGLEV:
        return _pick_hashed(s, b, s.key[i])
    g = 0
    if s.options[LOCALITIES]:
        level = _pick_level(s, b) if s.options[LEVELS] > 1 else 0
        g = _pick_group(s, b, level)
    return _pick_in(s, b, g, s.work_s[i])
