"""Requests that go on while a test does something else; each is counted, none is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

DEADLINE_S = 20.0
PAUSE_S = 0.05
CLIENTS = 2
"""Of each Envoy, each with a connection that it keeps."""
Address = tuple[str, int]


@dataclass
class Load:
    """What came of them so far."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    during: str = "nothing"
    """What was done last, to be told of requests that fail."""


@asynccontextmanager
async def under_load(targets: Sequence[Address], path: str) -> AsyncIterator[Load]:
    """Until the end of the block, and then what is under way is finished."""
    load, over = Load(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for one in targets:
            for _ in range(CLIENTS):
                group.create_task(_client(load, over, one, path))
        try:
            yield load
        finally:
            over.set()


async def ask(at: Address, path: str, headers: Sequence[str] = ()) -> tuple[int, str]:
    """Status and content of one request, which is not counted."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(*at)
        try:
            return await _exchange(reader, writer, path, headers)
        finally:
            writer.close()


async def _client(load: Load, over: asyncio.Event, at: Address, path: str) -> None:
    """A connection that is closed after an answer is opened anew, as HTTP has it; one that breaks
    within a request, and one that is refused, is a failure."""
    while not over.is_set():
        try:
            async with asyncio.timeout(DEADLINE_S):
                reader, writer = await asyncio.open_connection(*at)
            try:
                while not (over.is_set() or reader.at_eof()):
                    async with asyncio.timeout(DEADLINE_S):
                        status, said = await _exchange(reader, writer, path)
                    if status == 200:
                        load.answered += 1
                    else:
                        load.failed.append(f"{load.during}: {status} {said}")
                    await asyncio.sleep(PAUSE_S)
            finally:
                writer.close()
        except (OSError, EOFError, ValueError) as error:
            load.failed.append(f"{load.during}: {error!r}")
            await asyncio.sleep(PAUSE_S)


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    path: str,
    headers: Sequence[str] = (),
) -> tuple[int, str]:
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", "host: shop", *headers, "", ""]).encode())
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    said = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
    content = await reader.readexactly(int(said.get("content-length", "0")))
    return int(first.split()[1]), content.decode()
