"""What counts when, alike in memory and in Redis.

A fixed window is a unit of the clock (UTC). A sliding window is estimated from two fixed ones: all
of the present one, and of the one before as much as still lies within a unit from now, as if its
requests had come evenly. A request that is refused takes nothing, from no counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Take(NamedTuple):
    """What one descriptor wants of one counter."""

    counter: bytes
    """Its name: what tells it apart from all others."""
    hits: int
    """0: is there room for one?"""
    limit: int
    unit_s: int
    sliding: bool = False
    forced: bool = False
    """Taken whether there is room or not, and refuses nothing."""

    def window(self, now_s: float) -> int:
        """Which window it is now."""
        return int(now_s // self.unit_s)

    def weight(self, now_s: float) -> float:
        """How much of the window before counts."""
        return 1.0 - now_s % self.unit_s / self.unit_s if self.sliding else 0.0

    def reset_s(self, now_s: float) -> float:
        """Until the next window."""
        return self.unit_s - now_s % self.unit_s

    def fits(self, used: float) -> bool:
        """Whether there is room, with so much used before."""
        return used + max(self.hits, 1) <= self.limit


class Counters(Protocol):
    """Where it is counted."""

    async def take(self, takes: Sequence[Take], now_s: float) -> Sequence[float]:
        """What was used of each before. All are taken, or none where one that is not forced does
        not fit.

        `now_s` is seconds since the epoch. Raises `StoreError` when that cannot be told.
        """
        ...


def allowed(takes: Sequence[Take], used: Sequence[float]) -> bool:
    """Whether all that may refuse have room."""
    return all(one.forced or one.fits(before) for one, before in zip(takes, used, strict=True))
