"""Compiled: outlier detection as Envoy does it, and what follows for priorities and panic.

A proxy's workers share it. Source: Envoy's documentation (outlier detection; priority levels; panic
threshold) and outlier_detection_impl.cc, load_balancer_impl.cc.
"""

from __future__ import annotations

import numpy as np

from policies.simulator.compiled import compiled, seldom
from policies.simulator.state import (
    EJECT_AFTER,
    EJECT_LONGEST_S,
    EJECT_MOST,
    EJECT_S,
    GROUPS,
    LEVELS,
    OVERPROVISIONING,
    PANIC_BELOW,
    RATE_FACTOR,
    RATE_HOSTS,
    RATE_REQUESTS,
    SWEEP,
    State,
)


@seldom
def believe(s: State, p: int) -> None:
    """What a proxy makes of its ejections: loads of the priorities, and where it panics.

    A priority can take (healthy part x overprovisioning) of the traffic, at most all; the next
    gets what is left. Where they cannot take all of it together, each gets in proportion, and one
    with too few healthy endpoints stops believing that the others are not.
    """
    levels, known = s.options[LEVELS], s.group_from[s.options[GROUPS]]
    total, left = 0.0, 1.0
    for level in range(levels):
        part = _healthy(s, p, level, known) * s.numbers[OVERPROVISIONING]
        total += min(1.0, part)
    total = min(1.0, total)
    for level in range(levels):
        healthy = _healthy(s, p, level, known)
        load = 0.0
        if total > 0.0:
            load = min(left, min(1.0, healthy * s.numbers[OVERPROVISIONING]) / total)
        elif level == 0:
            load = 1.0
        s.level_load[p, level] = load
        left -= load
        panics = total < 1.0 and healthy < s.numbers[PANIC_BELOW]
        for m in range(known):
            host = s.members[m]
            if s.level_of[host] == level:
                s.shut[p, host] = s.ejected_s[p, host] < np.inf and not panics
    if left > 0.0:  # rounding
        for level in range(levels):
            if s.level_load[p, level] > 0.0:
                s.level_load[p, level] += left
                break


@compiled
def _healthy(s: State, p: int, level: int, known: int) -> float:
    """Part of a priority's endpoints that is not ejected; 0 without any."""
    count, fine = 0, 0
    for m in range(known):
        host = s.members[m]
        if s.level_of[host] == level:
            count += 1
            fine += s.ejected_s[p, host] == np.inf
    return fine / count if count else 0.0


@seldom
def eject(s: State, p: int, e: int) -> None:
    """Eject an endpoint, if not too many are already."""
    if s.ejected_s[p, e] < np.inf:
        return
    if s.ejected[p] + 1 > s.numbers[EJECT_MOST] * s.group_from[s.options[GROUPS]]:
        return
    s.ejected_s[p, e] = s.now_s[0]
    s.ejected[p] += 1
    if s.backoff[p, e] * s.numbers[EJECT_S] < s.numbers[EJECT_LONGEST_S] + s.numbers[EJECT_S]:
        s.backoff[p, e] += 1
    believe(s, p)


@compiled
def answered(s: State, p: int, e: int, fine: bool) -> None:
    """Count an answer: too many failures in a row eject the endpoint."""
    s.answered[p, e] += 1.0
    if fine:
        s.answered_well[p, e] += 1.0
        s.strikes[p, e] = 0
        return
    s.strikes[p, e] += 1
    if s.strikes[p, e] >= s.options[EJECT_AFTER]:
        eject(s, p, e)
        s.strikes[p, e] = 0


@compiled
def _return(s: State, p: int, e: int) -> None:
    lasts = min(s.backoff[p, e] * s.numbers[EJECT_S], s.numbers[EJECT_LONGEST_S])
    if s.now_s[0] - s.ejected_s[p, e] >= lasts - 1e-9:
        s.ejected_s[p, e], s.back_s[p, e] = np.inf, s.now_s[0]
        s.strikes[p, e] = 0
        s.ejected[p] -= 1


@compiled
def _compare(s: State, p: int) -> None:
    """Eject success rates far below the mean of those that had enough requests."""
    known = s.group_from[s.options[GROUPS]]
    count, total, squares = 0, 0.0, 0.0
    for m in range(known):
        host = s.members[m]
        if s.ejected_s[p, host] == np.inf and s.answered[p, host] >= s.options[RATE_REQUESTS]:
            rate = s.answered_well[p, host] / s.answered[p, host]
            count += 1
            total += rate
            squares += rate * rate
    if count < s.options[RATE_HOSTS] or count == 0:
        return
    mean = total / count
    limit = mean - s.numbers[RATE_FACTOR] * np.sqrt(max(squares / count - mean * mean, 0.0))
    for m in range(known):
        host = s.members[m]
        enough = s.answered[p, host] >= s.options[RATE_REQUESTS]
        if enough and s.answered_well[p, host] < (limit - 1e-12) * s.answered[p, host]:
            eject(s, p, host)


@seldom
def sweep(s: State) -> None:
    """At the end of an interval: let endpoints back, compare success rates, forget old sins."""
    n = s.shut.shape[1]
    for p in range(s.shut.shape[0]):
        if s.ejected[p] > 0:
            for e in range(n):
                if s.ejected_s[p, e] < np.inf:
                    _return(s, p, e)
            believe(s, p)
        if s.numbers[RATE_FACTOR] > 0.0:
            _compare(s, p)
        for e in range(n):
            s.answered[p, e] = 0.0
            s.answered_well[p, e] = 0.0
            long_back = s.now_s[0] - s.back_s[p, e] >= s.every_s[SWEEP] - 1e-9
            if s.ejected_s[p, e] == np.inf and long_back and s.backoff[p, e] > 0:
                s.backoff[p, e] -= 1
