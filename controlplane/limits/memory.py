"""Counters in this process: gone with it, and not shared with other replicas."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.limits.windows import Take, allowed

MOST = 100_000


@dataclass(slots=True)
class _Counter:
    window: int
    now: int = 0
    before: int = 0

    def at(self, window: int) -> _Counter:
        """Moved on to this window. A clock that was set back counts on."""
        if window > self.window:
            self.before = self.now if window == self.window + 1 else 0
            self.now, self.window = 0, window
        return self


class MemoryCounters:
    """At most so many; what was asked for longest ago makes room."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._counters: OrderedDict[tuple[bytes, int], _Counter] = OrderedDict()
        self.evicted = 0
        """How many had to make room."""

    def __len__(self) -> int:
        return len(self._counters)

    async def take(self, takes: Sequence[Take], now_s: float) -> Sequence[float]:
        """See `Counters`."""
        found = [self._counter(one, now_s) for one in takes]
        used = [
            counter.now + counter.before * one.weight(now_s) if one.sliding else counter.now
            for one, counter in zip(takes, found, strict=True)
        ]
        if allowed(takes, used):
            for one, counter in zip(takes, found, strict=True):
                counter.now += one.hits
        return used

    def _counter(self, one: Take, now_s: float) -> _Counter:
        key = (one.counter, one.unit_s)
        window = one.window(now_s)
        counter = self._counters.get(key)
        if counter is not None:
            self._counters.move_to_end(key)
            return counter.at(window)
        if len(self._counters) >= self._most:
            self._counters.popitem(last=False)
            self.evicted += 1
        counter = self._counters[key] = _Counter(window)
        return counter
