"""Endpoints of a region, which may go away, all at once, and come back where they were."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from controlplane.lab.envoy import free_port


class Region:
    """Endpoints that answer with the region's name; `status` may be changed while they run."""

    def __init__(self, name: str, endpoints: int = 2) -> None:
        self.name = name
        self.status = 200
        self.ports = tuple(free_port() for _ in range(endpoints))
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def begin(self) -> None:
        """All of them listen."""
        for port in self.ports:
            self._servers.append(await asyncio.start_server(self._serve, "127.0.0.1", port))

    def end(self) -> None:
        """None listens, and no connection stays."""
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.close()
        self._servers = []

    async def __aenter__(self) -> Region:
        await self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                body = self.name.encode()
                head = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()
