"""kube-proxy: connections to the address of a Service go to one of its ready pods, by chance.

One that stands stays where it is, also when its pod is told to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence

Address = tuple[str, int]
_CONNECT_S = 1.0


class Proxy:
    """One port of one Service."""

    def __init__(self, ready: Callable[[], Sequence[Address]], chance: random.Random) -> None:
        self._ready, self._chance = ready, chance
        self._underway: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._begin, host, port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for one in self._underway:
            one.cancel()
        await asyncio.gather(*self._underway, return_exceptions=True)

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._underway.add(task)
        task.add_done_callback(self._underway.discard)
        with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
            try:
                await self._join(reader, writer)
            finally:
                writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = self._ready()
        if not ready:
            return  # as refused
        async with asyncio.timeout(_CONNECT_S):
            theirs, to = await asyncio.open_connection(*self._chance.choice(ready))
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, to))
                both.create_task(_copy(theirs, writer))
        except* OSError:
            pass
        finally:
            to.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
