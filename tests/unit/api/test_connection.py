"""Connections of the HTTP addresses that ask nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from controlplane.api import connection
from controlplane.api.server import HttpServer

DEADLINE_S = 20.0
Message = MutableMapping[str, Any]


async def hello(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def served(keep_alive_s: int = 30) -> AsyncIterator[int]:
    server = HttpServer(hello, keep_alive_s=keep_alive_s)
    port = server.bind("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve())
    try:
        yield port
    finally:
        server.stop()
        await asyncio.wait_for(serving, DEADLINE_S)


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_whoever_asks_is_answered_however_many_ask_nothing(said: bytes) -> None:
    """Also where each has begun, or has asked before."""
    async with served() as port:
        idle = []
        for _ in range(connection.MOST + 20):
            idle.append(await asyncio.open_connection("127.0.0.1", port))
            idle[-1][1].write(said)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            for _ in range(3):
                assert (await http.get("/")).status_code == 200
        for _, writer in idle:
            writer.transport.abort()


async def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in (b"GET / HTTP/1.1\r\n", b"Host: a\r\n\r\n"):  # in time
            writer.write(part)
            await writer.drain()
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n"), DEADLINE_S)
        writer.write(b"GET / HT")
        await asyncio.wait_for(reader.read(), DEADLINE_S)  # to its end
        writer.close()


async def test_a_connection_without_a_request_is_kept_as_long_as_one_that_had_some() -> None:
    async with served(keep_alive_s=1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
        writer.close()
