"""Steady load over HTTPS, by clients that do what a server tells them and try nothing again.

Who is told to go (`connection: close`, GOAWAY) ends on its connection what it began there, and goes
on by another one, as RFC 9112, 9.6 and RFC 9113, 6.8 have it. Whatever else ends a request is a
failure.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle

import h2.config
import h2.connection
import h2.events
import h2.exceptions

DEADLINE_S = 20.0
STREAMS = 4
"""Requests that a client of HTTP/2 sends at a time."""
PAUSE_S = 0.004
"""Of each client, between its answers and its next requests."""
_GOAWAY = 7
Answer = tuple[str, int, bytes]
"""The path that was asked for, the status, the content."""
_FAILURES = (OSError, EOFError, ValueError, h2.exceptions.H2Error)


@dataclass(frozen=True)
class Customer:
    """Somebody who asks a host for its paths in turn, and brings what it takes to be let in."""

    name: str
    host: str
    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    version: str = "http/1.1"
    """As in ALPN: this, or `h2`."""
    lasting: bool = True
    """False: connections are used once."""


@dataclass
class Load:
    """What came of the requests so far."""

    port: int
    ca: bytes
    """Whose certificates the clients believe."""
    during: str = "nothing"
    """What was done last, to be told of requests that fail."""
    failed: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    """Requests answered 200, by customer."""
    connections: Counter[str] = field(default_factory=Counter)
    _over: bool = False

    @asynccontextmanager
    async def by(self, *customers: Customer) -> AsyncIterator[None]:
        """All of them send until this ends, and then finish what they began."""
        async with asyncio.TaskGroup() as group:
            for one in customers:
                group.create_task(self._send(one), name=one.name)
            try:
                yield
            finally:
                self._over = True

    async def status(self, one: Customer) -> int:
        """Of one request, which is not counted."""
        async with self._connected(one, _believing(self.ca, one.version)) as connection:
            return (await connection.exchange(one, cycle(one.paths)))[0][1]

    async def _send(self, one: Customer) -> None:
        tls, paths = _believing(self.ca, one.version), cycle(one.paths)
        while not self._over:
            try:
                async with self._connected(one, tls) as connection:
                    self.connections[one.name] += 1
                    await self._by_one_connection(one, paths, connection)
            except _FAILURES as error:
                self.failed.append(f"{self.during}: {one.name}: {error!r}")

    @asynccontextmanager
    async def _connected(self, one: Customer, tls: ssl.SSLContext) -> AsyncIterator[_One | _Two]:
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=tls, server_hostname=one.host
            )
        try:
            yield (_Two if one.version == "h2" else _One)(reader, writer)
        finally:
            writer.close()

    async def _by_one_connection(
        self, one: Customer, paths: Iterator[str], connection: _One | _Two
    ) -> None:
        while not self._over and not connection.told_to_go:
            async with asyncio.timeout(DEADLINE_S):
                for path, status, said in await connection.exchange(one, paths):
                    if status == 200:
                        self.answered[one.name] += 1
                    else:
                        what = f"{one.name}: {path}: {status} {said.decode()}"
                        self.failed.append(f"{self.during}: {what}")
            if not one.lasting:
                break
            await asyncio.sleep(PAUSE_S)


def _believing(ca: bytes, version: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.decode())
    context.set_alpn_protocols([version])
    return context


class _One:
    """A connection of HTTP/1.1. It keeps the cookies that it is given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._cookies: dict[str, str] = {}
        self.told_to_go = False

    async def exchange(self, one: Customer, paths: Iterator[str]) -> list[Answer]:
        """A request and its answer."""
        path = next(paths)
        lines = [f"GET {path} HTTP/1.1", f"host: {one.host}"]
        lines += [f"{name}: {value}" for name, value in one.headers.items()]
        if self._cookies:
            lines.append("cookie: " + "; ".join(f"{k}={v}" for k, v in self._cookies.items()))
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        first, *found = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        content = b""
        for line in found:
            name, _, value = line.partition(": ")
            if name == "content-length":
                content = await self._reader.readexactly(int(value))
            elif name == "set-cookie":
                cookie, _, token = value.partition(";")[0].partition("=")
                self._cookies[cookie] = token
            self.told_to_go |= line == "connection: close"
        return [(path, int(first.split()[1]), content)]


class _Two:
    """A connection of HTTP/2."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._state.initiate_connection()
        self._last = 0
        self.told_to_go = False

    async def exchange(self, one: Customer, paths: Iterator[str]) -> list[Answer]:
        """Some requests at a time and their answers."""
        underway = {self._ask(one, path): path for path in (next(paths) for _ in range(STREAMS))}
        statuses, contents = dict[int, int](), defaultdict[int, bytes](bytes)
        answers = []
        while underway:
            self._writer.write(self._state.data_to_send())
            for event in await self._events():
                if isinstance(event, h2.events.ResponseReceived):
                    statuses[event.stream_id] = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    contents[event.stream_id] += event.data
                    self._state.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                elif isinstance(event, h2.events.StreamEnded):
                    number = event.stream_id
                    answers.append((underway.pop(number), statuses[number], contents[number]))
                elif isinstance(event, h2.events.StreamReset):
                    raise ValueError(f"{underway[event.stream_id]}: reset: {event.error_code}")
        return answers

    def _ask(self, one: Customer, path: str) -> int:
        number = self._last = self._state.get_next_available_stream_id()
        said = {":method": "GET", ":scheme": "https", ":authority": one.host, ":path": path}
        self._state.send_headers(number, list({**said, **one.headers}.items()), end_stream=True)
        return number

    async def _events(self) -> Sequence[h2.events.Event]:
        """What the next frame says. h2 takes GOAWAY for the end of the connection; it is the
        beginning of it, so it is not shown one."""
        head = await self._reader.readexactly(9)
        body = await self._reader.readexactly(int.from_bytes(head[:3]))
        if head[3] != _GOAWAY:
            return self._state.receive_data(head + body)
        self.told_to_go = True
        last, code = int.from_bytes(body[:4]), int.from_bytes(body[4:8])
        if code or last < self._last:
            raise ValueError(f"GOAWAY {code}: {body[8:]!r}")
        return []
