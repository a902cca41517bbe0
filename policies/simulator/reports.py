"""Compiled: what balancers learn from answers. ORCA reports for CSWRR, latencies for Peak EWMA.

CSWRR: Envoy's documentation of the policy, gRPC's proposal A58, and Envoy's orca_weight_manager.cc,
which takes the median where A58 takes the mean, and cuts weights to integers. Peak EWMA: Finagle's
`PeakEwma`.
"""

from __future__ import annotations

import numpy as np

from policies.simulator.compiled import compiled, seldom
from policies.simulator.picks import restart_hosts
from policies.simulator.state import (
    BLACKOUT_S,
    EXPIRY_S,
    GROUPS,
    PEAK_DECAY_S,
    PENALTY,
    REPORT,
    State,
)


@seldom
def report(s: State) -> None:
    """Every endpoint begins a new window of its load report."""
    for e in range(len(s.workers)):
        window = s.every_s[REPORT]
        s.reported[e, 0] = s.orca_ended[e] / window
        s.reported[e, 1] = s.orca_failed[e] / window
        s.reported[e, 2] = s.orca_busy_s[e] / (window * s.workers[e])
        s.orca_ended[e] = 0.0
        s.orca_failed[e] = 0.0
        s.orca_busy_s[e] = 0.0


@compiled
def hear(s: State, p: int, e: int) -> None:
    """An answer carries the endpoint's newest report: rps / (utilisation + penalty x eps / rps)."""
    rps = s.reported[e, 0]
    if rps <= 0.0:
        return
    used = s.reported[e, 2] + s.numbers[PENALTY] * s.reported[e, 1] / rps
    if used <= 0.0:
        return
    s.said[p, e] = max(np.floor(rps / used), 1.0)
    s.said_at_s[p, e] = s.now_s[0]
    if s.said_since_s[p, e] == np.inf:
        s.said_since_s[p, e] = s.now_s[0]


@compiled
def _usable(s: State, p: int, e: int) -> bool:
    now = s.now_s[0]
    if s.said_at_s[p, e] < now - s.numbers[EXPIRY_S]:
        s.said_since_s[p, e] = np.inf  # the blackout begins anew
        return False
    return bool(s.said_since_s[p, e] <= now - s.numbers[BLACKOUT_S])


@compiled
def _median(s: State, p: int, known: int) -> float:
    """Of the weights that can be used; 1 without any. By counting: it is short and seldom."""
    count = 0
    for m in range(known):
        count += _usable(s, p, s.members[m])
    if count == 0:
        return 1.0
    low, high = 0.0, 0.0
    for m in range(known):
        one = s.members[m]
        if not _usable(s, p, one):
            continue
        below, same = 0, 0
        for k in range(known):
            other = s.members[k]
            if _usable(s, p, other):
                below += s.said[p, other] < s.said[p, one]
                same += s.said[p, other] == s.said[p, one]
        if below <= (count - 1) // 2 < below + same:
            low = s.said[p, one]
        if below <= count // 2 < below + same:
            high = s.said[p, one]
    return float(np.floor((low + high) / 2.0))


@seldom
def reweigh(s: State) -> None:
    """Every proxy puts the weights in force that it heard of."""
    groups = s.options[GROUPS]
    known = s.group_from[groups]
    for p in range(s.said.shape[0]):
        median, changed, least, most = _median(s, p, known), False, np.inf, 0.0
        for m in range(known):
            e = s.members[m]
            weight = s.said[p, e] if _usable(s, p, e) else median
            changed = changed or weight != s.own_weight[p, e]
            s.own_weight[p, e] = weight
            least, most = min(least, weight), max(most, weight)
        s.own_equal[p] = least == most
        if changed:
            for b in range(len(s.proxy_of)):
                if s.proxy_of[b] == p:
                    for g in range(groups):
                        restart_hosts(s, b, g)


@compiled
def feel(s: State, b: int, e: int, latency: float) -> None:
    """Peak EWMA: jumps to a latency above the average, moves to one below it."""
    known, now = s.peak_s[b, e], s.now_s[0]
    kept = np.exp((s.peak_at_s[b, e] - now) / s.numbers[PEAK_DECAY_S])
    if latency > known * kept:
        s.peak_s[b, e] = latency
    else:
        s.peak_s[b, e] = known * kept + latency * (1.0 - kept)
    s.peak_at_s[b, e] = now
