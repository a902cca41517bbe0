"""Origins that say who they are, and a client, for tests with the real Envoy."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from typing import Protocol, TypeVar


class Origin:
    """Answers every request with its name; `status` may be changed while it runs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        self.port = 0
        self.seen = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.seen += 1
                body = self.name.encode()
                head = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()


class Answers(Protocol):
    """What can be run."""

    name: str
    port: int

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""


Some = TypeVar("Some", bound=Answers)


async def listen(
    stack: AsyncExitStack, origin: Answers, context: ssl.SSLContext | None = None
) -> None:
    """Run one, with TLS where a context is given, until the stack ends, and its connections too."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(origin.serve(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)
        try:
            await asyncio.wait({task})
        finally:
            writer.close()

    async def stop() -> None:
        server.close()
        left = set(handlers)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    stack.push_async_callback(stop)
    origin.port = server.sockets[0].getsockname()[1]


@asynccontextmanager
async def running(*origins: Some) -> AsyncIterator[dict[str, Some]]:
    """Run these, by name."""
    async with AsyncExitStack() as stack:
        for origin in origins:
            await listen(stack, origin)
        yield {origin.name: origin for origin in origins}


def origins(*names: str) -> AbstractAsyncContextManager[dict[str, Origin]]:
    """Run one for each name."""
    return running(*map(Origin, names))


async def ask(
    port: int,
    path: str = "/",
    *,
    host: str = "x",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    times: int = 1,
    deadline_s: float = 30.0,
) -> Counter[tuple[int, str]]:
    """Send requests one after another and count (status, body)."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    request = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n".encode()
    answers: Counter[tuple[int, str]] = Counter()
    async with asyncio.timeout(deadline_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for _ in range(times):
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
                body = (await reader.readexactly(length)).decode() if length else ""
                answers[int(head.split()[1]), body.strip()] += 1
        finally:
            writer.close()
    return answers
