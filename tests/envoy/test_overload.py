"""An Envoy that is overloaded refuses what is too much, and goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from tests.envoy.edge import backend, edge, gateway, route, to, until
from tests.envoy.origin import Origin, running

pytestmark = pytest.mark.envoy


class Client:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.writer: asyncio.StreamWriter | None = None

    async def served(self) -> bool:
        """Whether a request on it is answered; else it is closed."""
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        line = await reader.readline()
        if not line:
            self.close()
        return line == b"HTTP/1.1 200 OK\r\n"

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


async def test_one_connection_too_many_is_closed_and_the_others_go_on(tmp_path: Path) -> None:
    origin, port = Origin("a"), free_port()
    async with running(origin):
        declared = (
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            backend("a", origin.port),
            route("a", f"[{{{to('a')}}}]"),
        )
        boot = {"max_connections": 2, "max_heap_bytes": 1 << 30}
        async with edge(tmp_path, *declared, boot=boot):
            first, second, third = (Client(port) for _ in range(3))
            assert await first.served()
            assert await second.served()

            async def refused() -> bool:
                try:
                    return not await third.served()
                except ConnectionError:
                    return True

            assert await refused()
            first.close()
            await until(third.served)
            second.close()
            third.close()


async def test_an_envoy_without_heap_refuses_requests(tmp_path: Path) -> None:
    origin, port = Origin("a"), free_port()
    async with running(origin):
        declared = (
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            backend("a", origin.port),
            route("a", f"[{{{to('a')}}}]"),
        )
        async with (
            edge(tmp_path, *declared, boot={"max_heap_bytes": 1 << 20}) as made,
            made.client() as client,
        ):

            async def refused() -> bool:
                return (await client.get(f"http://127.0.0.1:{port}/")).status_code == 503

            await until(refused)
