"""How late a process was: the honesty of everything that is measured with timers.

A timer that fires late makes a backend slower and a generator slower than the script says. Each
counts by how much, in a histogram of bounded size, and a run that was late is not valid.
"""

from __future__ import annotations

from bisect import bisect_left

# Upper ends of the buckets, seconds: about 8 % wide from 0.1 ms to 10 s.
_ENDS = tuple(1e-4 * 1.08**i for i in range(150))


class Lag:
    """A histogram of lateness."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._counts = [0] * (len(_ENDS) + 1)
        self._max_s = 0.0
        self.count = 0

    def add(self, late_s: float) -> None:
        """One timer that fired `late_s` late. Early counts as in time."""
        self._counts[bisect_left(_ENDS, late_s)] += 1
        self.count += 1
        if late_s > self._max_s:
            self._max_s = late_s

    def quantile(self, q: float) -> float:
        """Seconds: the upper end of the bucket, at most the largest seen."""
        rank = q * self.count
        seen = 0
        for end, count in zip(_ENDS, self._counts, strict=False):
            seen += count
            if seen >= rank:
                return min(end, self._max_s)
        return self._max_s

    def summary(self) -> dict[str, float]:
        """p50, p99 and max in milliseconds."""
        return {
            "p50": round(1e3 * self.quantile(0.5), 3),
            "p99": round(1e3 * self.quantile(0.99), 3),
            "max": round(1e3 * self._max_s, 3),
        }
