"""An origin of files, as a web server has them: strong ETags, parts, `cache-control`."""

from __future__ import annotations

import asyncio
import email.utils
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from tests.envoy.echo import Received, read_head

TEXT = "".join(f"line {at} of a text that can be made smaller\n" for at in range(400))
ETAG = '"v1"'


@dataclass
class Files:
    """Every path is the same text, kept for as long as the path says in `max-age`."""

    name: str
    port: int = 0
    received: list[Received] = field(default_factory=list)
    body: str = ""
    """Of the last request."""

    @property
    def asked(self) -> Counter[str]:
        """How often each path was asked for."""
        return Counter(one.path for one in self.received)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                one = read_head((await reader.readuntil(b"\r\n\r\n")).decode())
                self.body = (await _body(one, reader)).decode()
                self.received.append(one)
                writer.write(_answer(one))
                await writer.drain()
        writer.close()


async def _body(one: Received, reader: asyncio.StreamReader) -> bytes:
    if one.headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(one.headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:size]
    await reader.readexactly(2)
    return body


def _answer(one: Received) -> bytes:
    body, status, more = TEXT.encode(), "200 OK", ""
    if one.headers.get("if-none-match", "").removeprefix("W/") == ETAG:
        return f"HTTP/1.1 304 Not Modified\r\netag: {ETAG}\r\n\r\n".encode()
    if one.headers.get("range", "").startswith("bytes="):
        first, _, last = one.headers["range"].removeprefix("bytes=").partition("-")
        more = f"content-range: bytes {first}-{last}/{len(body)}\r\n"
        body, status = body[int(first) : int(last) + 1], "206 Partial Content"
    head = (
        f"HTTP/1.1 {status}\r\netag: {ETAG}\r\ncontent-type: text/plain\r\n{more}"
        f"date: {_now()}\r\ncache-control: max-age=60\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + (b"" if one.method == "HEAD" else body)


def _now() -> str:
    return email.utils.formatdate(usegmt=True)
