"""Capacity classes: which endpoints are alike, found on a line of log capacities. Pure."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats

ALIKE = float(np.log(1.5))
"""Endpoints within this ratio of one another share a class: full scan copes with the rest."""
APART = float(np.log(1.3))
"""Classes whose means are nearer than this are one."""
LONE = float(np.log(1.8))
"""A single endpoint is a class of its own only when it is this far from its nearest."""
GENERATION = float(np.log(1.5))
"""Classes of which each is this far from the next are generations of machines, and not parts of one
spread: of them there may be one for every two endpoints (docs/decisions/0021)."""
MOST_CLASSES = 4


def most_classes(endpoints: int) -> int:
    """Of a spread few: a class of one leaves the full scan nothing to choose from.

    >>> [most_classes(n) for n in (1, 2, 8, 9, 100)]
    [1, 2, 2, 3, 4]
    """
    return min(endpoints, max(2, min(MOST_CLASSES, endpoints // 3)))


def classes(log_capacity: Floats) -> NDArray[np.intp]:
    """(n,) the class of each endpoint, numbered from the slowest.

    Least squares in one dimension, exact by dynamic programming; as few classes as keep each
    within `ALIKE`, more than `most_classes` where all are a `GENERATION` apart, and no boundary
    where there is no gap to speak of.
    """
    n = len(log_capacity)
    order = np.argsort(log_capacity, kind="stable")
    line = log_capacity[order]
    few, bounds = most_classes(n), [0, n]
    for count in range(1, max(few, min(MOST_CLASSES, n // 2)) + 1):
        cut = _bounds(line, count)
        narrow = max(line[b - 1] - line[a] for a, b in itertools.pairwise(cut)) <= ALIKE
        if count <= few or (narrow and _generations(line, cut)):
            bounds = cut
        if narrow:
            break
    bounds = _merged(line, bounds)
    out = np.empty(n, dtype=np.intp)
    for number, (a, b) in enumerate(itertools.pairwise(bounds)):
        out[order[a:b]] = number
    return out


def _bounds(line: Floats, count: int) -> list[int]:
    """Where to cut a sorted line into so many parts with the least squared deviation."""
    n = len(line)
    if count >= n:
        return list(range(n + 1))
    sums = np.concatenate([[0.0], np.cumsum(line)])
    squares = np.concatenate([[0.0], np.cumsum(line * line)])
    starts = np.arange(n + 1)
    length = starts[None, :] - starts[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        total = sums[None, :] - sums[:, None]
        cost = squares[None, :] - squares[:, None] - total * total / length
    cost = np.where(length > 0, cost, np.inf)
    best, cuts = cost[0], []
    for _ in range(count - 1):
        through = best[:, None] + cost
        cuts.append(through.argmin(axis=0))
        best = through.min(axis=0)
    bounds = [n]
    for cut in reversed(cuts):
        bounds.append(int(cut[bounds[-1]]))
    return [0, *reversed(bounds)] if bounds[-1] != 0 else list(reversed(bounds))


def _merged(line: Floats, bounds: list[int]) -> list[int]:
    """Take away boundaries between classes that are not clearly apart, the weakest first."""
    while len(bounds) > 2:
        parts = [line[a:b] for a, b in itertools.pairwise(bounds)]
        clear = [_clear(left, right) for left, right in itertools.pairwise(parts)]
        worst = int(np.argmin(clear))
        if clear[worst] >= 1.0:
            break
        del bounds[worst + 1]
    return bounds


def _generations(line: Floats, bounds: list[int]) -> bool:
    """Whether each class is a generation from the next, and no boundary would be taken away."""
    parts = [line[a:b] for a, b in itertools.pairwise(bounds)]
    return all(
        right[0] - left[-1] >= GENERATION and _clear(left, right) >= 1.0
        for left, right in itertools.pairwise(parts)
    )


def _clear(left: Floats, right: Floats) -> float:
    """How clear the boundary between two neighbours is; 1 is just enough."""
    clear = float(right.mean() - left.mean()) / APART
    if min(len(left), len(right)) == 1 and len(left) + len(right) > 2:
        clear = min(clear, float(right[0] - left[-1]) / LONE)
    return clear
