"""Small HTTP/1 backends whose delays, status and headers a test chooses, and a plain client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field


@dataclass
class Backend:
    """What one backend does, and what it did."""

    delay_s: float = 0.0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    taken: int = 0
    took_s: list[float] = field(default_factory=list)
    """Seconds from the request's last byte read to the response handed to the kernel."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                begin_s = time.monotonic()
                self.taken += 1
                await asyncio.sleep(self.delay_s)
                head = f"HTTP/1.1 {self.status} X\r\n{lines}content-length: 2\r\n\r\n"
                writer.write(head.encode() + b"ok")
                await writer.drain()
                self.took_s.append(time.monotonic() - begin_s)
        except (asyncio.IncompleteReadError, OSError):
            pass  # Envoy closed the connection
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def running(*backends: Backend) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for backend in backends:
            server = await asyncio.start_server(backend.handle, "127.0.0.1", backend.port)
            backend.port = server.sockets[0].getsockname()[1]
            stack.callback(server.close)
        yield


async def get(port: int, count: int = 1, deadline_s: float = 30.0) -> list[int]:
    """The statuses of so many requests, one after another on one connection."""
    statuses = []
    async with asyncio.timeout(deadline_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for _ in range(count):
                writer.write(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                await reader.readexactly(length)
                statuses.append(int(head.split(" ", 2)[1]))
        finally:
            writer.close()
    return statuses
