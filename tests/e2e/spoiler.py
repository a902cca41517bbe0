"""Stands between Weir and a real Prometheus, and spoils its answers when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Spoiler:
    """`fault`: empty (as it is), `nan` (every number), `frozen` (the last answer for ever)."""

    behind: str
    fault: str = ""
    url: str = ""
    asked: int = 0
    last: bytes = b""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ", 2)[1]
                length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                self.asked += 1
                answer = await self._answer(path, body)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer))
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # either side has gone: Weir sees a connection that closes
        finally:
            writer.close()

    async def _answer(self, path: str, body: bytes) -> bytes:
        if self.fault == "frozen" and self.last:
            return self.last
        answer = await asyncio.to_thread(_ask, self.behind + path, body)
        if self.fault == "nan":
            document = json.loads(answer)
            for one in document["data"]["result"]:
                one["value"][1] = "NaN"
            return json.dumps(document).encode()
        self.last = answer
        return answer


def _ask(url: str, body: bytes) -> bytes:
    form = {"content-type": "application/x-www-form-urlencoded"}
    with urllib.request.urlopen(urllib.request.Request(url, body, form), timeout=5.0) as answer:
        read: Any = answer.read()
        return bytes(read)


@contextlib.asynccontextmanager
async def spoiler(behind: str) -> AsyncIterator[Spoiler]:
    """One, in front of this Prometheus."""
    made = Spoiler(behind)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
