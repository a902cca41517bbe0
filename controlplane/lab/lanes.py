"""Lanes: several ways to balance, side by side, each with its own Envoys and its own backends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.errors import StartupError
from controlplane.lab.envoy import Envoy, kill_now, run_envoy
from controlplane.lab.ports import free_ports, require_one_listener
from controlplane.lab.stock import Balancing, static_bootstrap, write_assignment


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane that serves."""

    name: str
    title: str
    ports: tuple[int, ...]
    """Where its Envoys listen."""
    envoys: tuple[Envoy, ...]
    assign: Callable[[Sequence[int]], None] | None = None
    """Balance over the backends on these ports from now on; None where that cannot be said."""


AT_ONCE = 4
"""Envoys that start at the same time: each takes most of a core for a moment."""


@contextlib.asynccontextmanager
async def run_envoys(
    bootstraps: Sequence[Mapping[str, Any]], folder: Path, *, name: str, at_once: int = AT_ONCE
) -> AsyncIterator[tuple[Envoy, ...]]:
    """Many Envoys, one worker each, started a few at a time; all LIVE or `StartupError`."""
    gate = asyncio.Semaphore(at_once)
    async with contextlib.AsyncExitStack() as stack:

        async def start(i: int) -> Envoy:
            async with gate:
                running = run_envoy(bootstraps[i], folder, name=f"{name}-{i:02d}", wait_s=60.0)
                return await stack.enter_async_context(running)

        try:
            async with asyncio.TaskGroup() as group:
                starting = [group.create_task(start(i)) for i in range(len(bootstraps))]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        envoys = tuple(task.result() for task in starting)
        try:
            yield envoys
        finally:
            for envoy in envoys:  # all at once; the stack then waits for each
                kill_now(envoy.process)


@contextlib.asynccontextmanager
async def run_lane(
    balancing: Balancing,
    backends: Sequence[int],
    folder: Path,
    *,
    envoys: int,
    groups: Sequence[int] | None = None,
    changing: bool = False,
) -> AsyncIterator[Lane]:
    """A stock lane over backends on these ports. `changing`: they may be other ones later."""
    ports = free_ports(2 * envoys)
    listeners, admins = ports[:envoys], ports[envoys:]
    assignment = (folder / f"{balancing.name}-endpoints.json").absolute() if changing else None
    if assignment is not None:
        write_assignment(assignment, balancing, backends)
    bootstraps = [
        static_bootstrap(
            balancing,
            backends,
            listener_port=one,
            admin_port=admin,
            groups=groups,
            assignment=assignment,
        )
        for one, admin in zip(listeners, admins, strict=True)
    ]

    def assign(now: Sequence[int]) -> None:
        assert assignment is not None
        write_assignment(assignment, balancing, now)

    async with run_envoys(bootstraps, folder, name=balancing.name) as running:
        require_one_listener(ports)
        await wait_serving(listeners, running)
        yield Lane(
            balancing.name,
            balancing.title,
            tuple(listeners),
            running,
            None if assignment is None else assign,
        )


async def wait_serving(
    ports: Sequence[int], envoys: Sequence[Envoy] = (), deadline_s: float = 60.0
) -> None:
    """Until a request to each port is answered 200 by a backend behind it.

    Raises `StartupError` with the last answer of the port, and what its Envoy says where the
    `envoys` are given, one for each port.
    """
    end = time.monotonic() + deadline_s
    for i, port in enumerate(ports):
        while not (answer := await _answer(port)).startswith("HTTP/1.1 200 "):
            ended = bool(envoys) and envoys[i].process.returncode is not None
            if ended or time.monotonic() > end:
                raise StartupError(
                    f"the Envoy on port {port} did not serve within {deadline_s:g} s;"
                    f" its last answer: {answer}{await _told(envoys[i]) if envoys else ''}"
                )
            await asyncio.sleep(0.05)


async def _answer(port: int) -> str:
    """The head of that to one request with the work of a usual one: Weir learns from it, too."""
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /80000 HTTP/1.1\r\nhost: weir.demo\r\nconnection: close\r\n\r\n")
                told = (await reader.read(512)).decode(errors="replace")
                return told.partition("\r\n")[0] or "the connection was closed"
            finally:
                writer.close()
    except TimeoutError:
        return "none within 2 s"
    except OSError as error:
        return str(error)


async def _told(envoy: Envoy) -> str:
    """What an Envoy that does not serve says of it: what it got, and the end of its log."""
    if (status := envoy.process.returncode) is not None:
        return f"\nIt ended with exit status {status}; its log ends:\n{envoy.tail()}"
    try:
        got = str(await envoy.stats("update_(success|rejected|failure)|membership_(healthy|total)"))
    except (OSError, TimeoutError, ValueError, LookupError, TypeError) as error:
        got = f"no answer of its admin interface, {error!r}"
    return f"\nIts statistics: {got}\nIts log ends:\n{envoy.tail()}"
