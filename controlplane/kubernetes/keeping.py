"""Keeps what is declared for the next start, beside the work and never in its way.

What is newest is saved, one write at a time and each in a thread. After a write there is a pause:
a second, or ten times as long as it took, so that a large cluster that never rests costs a tenth of
a disk. What changed in the pause is saved after it, or at the end; a process that is killed loses
that much. A store that fails is said once for each reason, and costs nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from controlplane.errors import StoreError
from controlplane.resources.kept import Kept

logger = structlog.get_logger(__name__)

PAUSE_S = 1.0
TIMES_AS_LONG = 10.0


class Keeps(Protocol):
    """Where it is kept."""

    def load(self) -> Kept | None:
        """What was saved; None where nothing was. Raises `StoreError`."""
        ...

    def save(self, kept: Kept) -> None:
        """All of it or nothing. Raises `StoreError`."""
        ...


class Keeper:
    """Saves what it is given last. `run` belongs to one task."""

    def __init__(
        self,
        store: Keeps,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._newest: Kept | None = None
        self._news = asyncio.Event()
        self._said = ""

    def put(self, kept: Kept) -> None:
        """This is what is declared now. Never blocks."""
        self._newest = kept
        self._news.set()

    async def run(self) -> None:
        """For ever; what waits when it is cancelled is saved before it ends."""
        try:
            while True:
                await self._news.wait()
                began_s = self._clock()
                await self._save()
                await self._sleep(max(PAUSE_S, TIMES_AS_LONG * (self._clock() - began_s)))
        finally:
            await self._save()

    async def _save(self) -> None:
        kept, self._newest = self._newest, None
        self._news.clear()
        if kept is None:
            return
        why = ""
        try:
            await asyncio.to_thread(self._store.save, kept)
        except StoreError as error:
            why = str(error)
        if why and why != self._said:
            logger.warning("what is declared is not kept for the next start", why=why)
        self._said = why
