"""Which services are due: each has its own interval. Pure; the loop brings the clock."""

from __future__ import annotations

import heapq
import math

from controlplane.model import ServiceName

TOGETHER_S = 0.02
"""Services due within this time of one another share a tick: one look, one batch, one push."""


class Schedule:
    """A heap of due times. Work is proportional to the services that are due, not to all."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, ServiceName]] = []
        self._due_at: dict[ServiceName, float] = {}
        self._interval_s: dict[ServiceName, float] = {}
        self.missed = 0
        """Times that came and went while the loop was busy, over all services."""

    def keep(self, name: ServiceName, interval_s: float, now_s: float) -> None:
        """Add a service, first due after one interval, or give a known one a new interval."""
        if self._interval_s.get(name) == interval_s:
            return
        self._interval_s[name] = interval_s
        # On a common grid, so that services with equal intervals fall into one batch.
        self._push(name, (math.floor(now_s / interval_s) + 1) * interval_s)

    def drop(self, name: ServiceName) -> None:
        """Forget a service."""
        self._interval_s.pop(name, None)
        self._due_at.pop(name, None)

    def take(self, now_s: float) -> list[ServiceName]:
        """Those that are due, each put back for its next time. Missed times are skipped."""
        taken = []
        while self._heap and self._heap[0][0] <= now_s + TOGETHER_S:
            at_s, name = heapq.heappop(self._heap)
            if self._due_at.get(name) != at_s:
                continue  # dropped, or moved to another time
            taken.append(name)
            interval_s = self._interval_s[name]
            steps = max(1, math.ceil((now_s + TOGETHER_S - at_s) / interval_s))
            self.missed += steps - 1
            self._push(name, at_s + steps * interval_s)
        return taken

    def wait_s(self, now_s: float, at_most_s: float) -> float:
        """How long until something is due."""
        while self._heap and self._due_at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._heap:
            return at_most_s
        return min(at_most_s, max(0.0, self._heap[0][0] - now_s))

    def _push(self, name: ServiceName, at_s: float) -> None:
        self._due_at[name] = at_s
        heapq.heappush(self._heap, (at_s, name))
