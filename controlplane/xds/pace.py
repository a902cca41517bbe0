"""Requests that take long must not keep all others waiting: a stream with many of them rests.

An honest client asks for much when it connects, and now and then. So a stream may have some of the
event loop's time at once, and has it back after a while. Who is beyond that is not read for several
times as long as the request took, one such stream after the other: however many there are, the
others have most of the time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

HEAVY_S = 0.01
"""What takes less than this is not counted."""
AT_ONCE_S = 0.25
REGAINED = 0.01
"""Seconds that a stream has back in each second."""
REST = 3.0
"""Times as long as the request took."""


class Pace:
    """How much of the time one stream has had lately."""

    def __init__(self, resting: asyncio.Lock, clock: Callable[[], float] = time.monotonic) -> None:
        """Streams that share the lock rest one after the other."""
        self._resting = resting
        self._clock = clock
        self._spent_s = 0.0
        self._at_s = clock()

    async def after(self, took_s: float) -> None:
        """Rest, where that is due after a request that took so long."""
        if took_s < HEAVY_S:
            return
        now_s = self._clock()
        regained_s = REGAINED * (now_s - self._at_s)
        self._spent_s, self._at_s = max(0.0, self._spent_s - regained_s) + took_s, now_s
        if self._spent_s > AT_ONCE_S:
            async with self._resting:
                await asyncio.sleep(REST * took_s)
