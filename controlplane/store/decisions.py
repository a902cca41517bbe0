"""The log of decisions: taken from the loop without waiting, written by a thread of its own.

What waits is bounded by the endpoints of its services, since a decision holds on to all that was
seen. A disk that is full, slow or gone costs decisions in the log, which are counted, and nothing
else.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

import msgspec
import structlog

from controlplane.model.decisions import Decision, records_of
from controlplane.store.segments import Segments

logger = structlog.get_logger(__name__)

BATCH = 256
"""Decisions that are written together."""


class DecisionLog:
    """A `DecisionSink`. `run` belongs to one task; `put` is called from the thread of the loop."""

    def __init__(
        self, segments: Segments, *, most_endpoints: int = 100_000, retry_s: float = 1.0
    ) -> None:
        """So many endpoints may wait, with the services that they are of; after a failure the next
        attempt comes `retry_s` later."""
        self._segments = segments
        self._most, self._retry_s = most_endpoints, retry_s
        self._waiting: deque[Decision] = deque()
        self._endpoints = 0
        self._filled = asyncio.Event()
        self._turn = threading.Lock()
        self._failing = False
        self.dropped = 0
        """Decisions that found no room, or could not be written."""
        self.failures = 0
        """Attempts to write that failed."""
        self.written = 0
        """Records that are in files."""

    def put(self, decisions: Sequence[Decision]) -> None:
        """Take these to be written. Never blocks, never fails."""
        for one in decisions:
            size = len(one.situation.grouping.endpoints)
            if self._waiting and self._endpoints + size > self._most:
                self.dropped += 1
                continue
            self._waiting.append(one)
            self._endpoints += size
        self._filled.set()

    async def run(self) -> None:
        """Write what comes in, for ever."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                if not await self._write():
                    await asyncio.sleep(self._retry_s)

    async def close(self, deadline_s: float) -> None:
        """At the end, when `run` is over: write what waits and complete the file, if it can be done
        by then."""
        try:
            async with asyncio.timeout(deadline_s):
                while self._waiting and await self._write():
                    pass
                await asyncio.to_thread(self._close)
        except (TimeoutError, OSError) as error:
            logger.warning("the log of decisions was not completed", why=str(error) or "too slow")

    async def _write(self) -> bool:
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        self._endpoints -= sum(len(one.situation.grouping.endpoints) for one in batch)
        lost, failure = await asyncio.to_thread(self._append, batch)
        self.dropped += lost
        self.written = self._segments.written
        if failure is not None:
            self.failures += 1
            if not self._failing:
                logger.warning("decisions are not logged until it can be written", why=failure)
        elif self._failing:
            logger.info("decisions are logged again", dropped=self.dropped)
        self._failing = failure is not None
        return failure is None

    def _append(self, batch: Sequence[Decision]) -> tuple[int, str | None]:
        """In a thread: how many of the records were lost, and why."""
        with self._turn:
            lines = [msgspec.json.encode(one) + b"\n" for one in records_of(batch)]
            before = self._segments.written
            try:
                self._segments.append(lines)
            except OSError as error:
                return len(lines) - (self._segments.written - before), str(error)
            return 0, None

    def _close(self) -> None:
        with self._turn:
            self._segments.close()
