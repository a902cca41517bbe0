"""Compiled: random numbers, the heap of what is to come, and bins of latencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.simulator.compiled import compiled
from policies.simulator.state import BIN_FROM, BIN_WIDTH, BINS, Floats, Ints

LEAVES, REACHES, ENDS, SHARED = range(4)
"""A request leaves its proxy; reaches its endpoint; ends there; the first at one that shares."""


@compiled
def uniform(random: NDArray[np.uint64]) -> float:
    """The next number of splitmix64, in [0, 1)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def push(heap_s: Floats, heap_of: Ints, size: int, when: float, what: int) -> None:
    """Put one into a heap that had `size` entries."""
    i = size
    while i > 0:
        parent = (i - 1) // 2
        if heap_s[parent] <= when:
            break
        heap_s[i], heap_of[i] = heap_s[parent], heap_of[parent]
        i = parent
    heap_s[i], heap_of[i] = when, what


@compiled
def pop(heap_s: Floats, heap_of: Ints, size: int) -> None:
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
def bin_of(latency: float) -> int:
    """The bin of a latency in seconds."""
    if latency <= 1e-5:
        return 0
    return min(BINS - 1, int((np.log(latency) - BIN_FROM) / BIN_WIDTH))
