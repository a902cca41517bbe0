"""Origins that tell what they received, and a client that shows everything of an answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field

from tests.envoy.origin import running


@dataclass(frozen=True)
class Received:
    """A request as an origin saw it; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Echo:
    """Answers with what it received.

    A request may ask for more: `x-want-status`, and with `x-want-times` so often only (counted by
    `x-request-key`); `x-want-delay` in seconds.
    """

    name: str
    port: int = 0
    received: list[Received] = field(default_factory=list)
    times: Counter[str] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                one = read_head(head)
                await reader.readexactly(int(one.headers.get("content-length", 0)))
                self.received.append(one)
                if one.headers.get("upgrade") == "websocket":
                    await _switch(reader, writer)
                    break
                await asyncio.sleep(float(one.headers.get("x-want-delay", 0)))
                writer.write(self._answer(one))
                await writer.drain()
        writer.close()

    def _answer(self, one: Received) -> bytes:
        status = one.headers.get("x-want-status", "200")
        key = one.headers.get("x-request-key", "")
        self.times[key] += 1
        if self.times[key] > int(one.headers.get("x-want-times", 1_000_000)):
            status = "200"
        said = {"origin": self.name, "method": one.method, "path": one.path}
        body = json.dumps({**said, "headers": dict(one.headers)}).encode()
        lines = f"HTTP/1.1 {status} X\r\nx-origin: {self.name}\r\nx-set: origin\r\n"
        lines += f"x-add: origin\r\nx-gone: origin\r\ncontent-length: {len(body)}\r\n\r\n"
        return lines.encode() + (b"" if one.method == "HEAD" else body)


def read_head(head: str) -> Received:
    """The head of a request."""
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split()
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        headers[name] = ",".join(filter(None, (headers.get(name), value.strip())))
    return Received(method, path, headers)


async def _switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """After the upgrade: what comes in goes back."""
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )
    while data := await reader.read(1024):
        writer.write(data)
        await writer.drain()


def echoes(*names: str) -> AbstractAsyncContextManager[dict[str, Echo]]:
    """Run one for each name."""
    return running(*map(Echo, names))


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def sent(self) -> Received:
        """What the origin received."""
        said = json.loads(self.body)
        return Received(said["method"], said["path"], said["headers"])


async def call(
    port: int,
    path: str = "/",
    *,
    host: str = "x",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    deadline_s: float = 20.0,
) -> Answer:
    """One request on a connection of its own."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    async with asyncio.timeout(deadline_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n".encode())
            first, _, rest = (await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")
            found = read_head(f"A B C\r\n{rest}").headers
            length = 0 if method == "HEAD" else int(found.get("content-length", 0))
            body = (await reader.readexactly(length)).decode()
        finally:
            writer.close()
    return Answer(int(first.split()[1]), found, body)
