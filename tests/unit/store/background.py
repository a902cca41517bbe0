"""What saves beside the work, run for as long as a test needs it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol


class Runs(Protocol):
    """A spool, or a log."""

    async def run(self) -> None:
        """For ever."""
        ...


@contextlib.asynccontextmanager
async def running(one: Runs) -> AsyncIterator[None]:
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20.0):
        while not condition():  # noqa: ASYNC110 - counters, not events
            await asyncio.sleep(0.005)
