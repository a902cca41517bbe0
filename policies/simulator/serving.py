"""Compiled: what an endpoint does with the work that it is given.

First come, first served: speeds are given beforehand as functions of time, so that a request's end
is known when it reaches the endpoint. Processor sharing: every request present gets the same, so
that they end in the order of `attained` + work, whatever comes meanwhile (virtual time).
"""

from __future__ import annotations

import numpy as np

from policies.simulator.compiled import compiled
from policies.simulator.events import SHARED, pop, push
from policies.simulator.state import State


@compiled
def _worked(s: State, e: int, segment: int, at: float, work: float) -> float:
    """When one worker that begins in this segment has done this work."""
    k = segment
    left = (s.speed_from_s[e, k + 1] - at) * s.speed[e, k]
    while work > left:  # more than what this segment can do
        work -= left
        k += 1
        at = s.speed_from_s[e, k]
        left = (s.speed_from_s[e, k + 1] - at) * s.speed[e, k]
    return float(at + work / s.speed[e, k])


@compiled
def _free_worker(s: State, e: int) -> int:
    worker = 0
    for w in range(1, s.workers[e]):
        if s.free_at_s[e, w] < s.free_at_s[e, worker]:
            worker = w
    return worker


@compiled
def effort(s: State, e: int, work: float) -> float:
    """The work, with what a cold cache adds."""
    if s.cold[e] > 1.0:
        work *= 1.0 + (s.cold[e] - 1.0) * np.exp(-s.given[e] / s.warm_after[e])
    return work


@compiled
def serve(s: State, e: int, work: float) -> float:
    """When the endpoint will have done this work, first come, first served."""
    worker = _free_worker(s, e)
    at = max(s.now_s[0], s.free_at_s[e, worker])
    while s.speed_from_s[e, s.segment[e] + 1] <= at:
        s.segment[e] += 1
    at = _worked(s, e, s.segment[e], at, work)
    s.free_at_s[e, worker] = at
    return at


@compiled
def soonest_end(s: State, e: int, now: float, work: float) -> float:
    """When this work would be done, if it came now and nothing else."""
    k = s.segment[e]
    if s.sharing[e]:
        while s.speed_from_s[e, k + 1] <= now:
            k += 1
        waiting = 0.0
        for j in range(s.jobs[e]):
            waiting += s.goal[e, j] - s.attained[e]
        alone = max(work, (waiting + work) / s.workers[e])
        return _worked(s, e, k, now, alone)
    at = max(now, s.free_at_s[e, _free_worker(s, e)])
    while s.speed_from_s[e, k + 1] <= at:
        k += 1
    return _worked(s, e, k, at, effort(s, e, work))


@compiled
def _rate(s: State, e: int) -> float:
    """The part of a worker that each request gets."""
    return float(min(1.0, s.workers[e] / max(s.jobs[e], 1)))


@compiled
def share_on(s: State, e: int) -> None:
    """Bring what each request has got up to now."""
    now, rate = s.now_s[0], _rate(s, e)
    at = s.attained_s[e]
    while at < now:
        until = min(now, s.speed_from_s[e, s.segment[e] + 1])
        s.attained[e] += (until - at) * s.speed[e, s.segment[e]] * rate
        at = until
        if at >= s.speed_from_s[e, s.segment[e] + 1]:
            s.segment[e] += 1
    s.attained_s[e] = now


@compiled
def announce(s: State, e: int) -> None:
    """Put the next end at an endpoint that shares into the heap."""
    s.version[e] += 1
    if s.jobs[e] == 0:
        s.attained[e] = 0.0
        return
    left = max(s.goal[e, 0] - s.attained[e], 0.0) / _rate(s, e)
    when = _worked(s, e, s.segment[e], s.now_s[0], left)
    what = (s.version[e] * len(s.workers) + e) * 4 + SHARED
    push(s.heap_s, s.heap_of, s.position[1], when, what)
    s.position[1] += 1


@compiled
def join(s: State, e: int, i: int, work: float) -> None:
    """A request begins at an endpoint that shares; `announce` comes next."""
    share_on(s, e)
    push(s.goal[e], s.goal_of[e], s.jobs[e], s.attained[e] + work, i)
    s.jobs[e] += 1


@compiled
def depart(s: State, e: int) -> int:
    """Take out the request that is done; `announce` comes next."""
    share_on(s, e)
    i = s.goal_of[e, 0]
    pop(s.goal[e], s.goal_of[e], s.jobs[e])
    s.jobs[e] -= 1
    return int(i)
