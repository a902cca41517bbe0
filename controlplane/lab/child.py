"""A Python child process that speaks JSON lines: commands in, messages out.

The load generator and the backends run in processes of their own, so that none of them waits for
the work of another. A child ends when its standard input does, and the kernel kills it when we die.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from controlplane.errors import WeirError
from controlplane.lab.envoy import die_with_parent, kill_now, log_tail

MAX_LINE_BYTES = 256 * 1024 * 1024
"""The longest message of a child: every latency of a long run."""


class ChildError(WeirError):
    """A process of the lab ended, or said nothing in time. The message has the end of its log."""


class Child:
    """A running child. Use `run_child`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    async def send(self, message: Mapping[str, Any]) -> None:
        """One command."""
        stream = self.process.stdin
        assert stream is not None
        try:
            stream.write(json.dumps(message).encode() + b"\n")
            await stream.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._ended() from error

    async def receive(self, deadline_s: float) -> dict[str, Any]:
        """The next message. Raises `ChildError` when the child ends or the deadline passes."""
        stream = self.process.stdout
        assert stream is not None
        try:
            async with asyncio.timeout(deadline_s):
                line = await stream.readline()
        except TimeoutError as error:
            raise ChildError(
                f"{self.name} said nothing for {deadline_s:.0f} s{self._tail()}"
            ) from error
        if not line:
            raise self._ended()
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    def _ended(self) -> ChildError:
        return ChildError(f"{self.name} ended unexpectedly{self._tail()}")

    def _tail(self) -> str:
        tail = log_tail(self.log)
        return f"; its log ends:\n{tail}" if tail else ""


@contextlib.asynccontextmanager
async def run_child(
    module: str, folder: Path, *, name: str, configuration: Mapping[str, Any]
) -> AsyncIterator[Child]:
    """`python -m module` with its configuration as the first line it reads."""
    log = folder / f"{name}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=MAX_LINE_BYTES,
            preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C is for us: we end our children in order
        )
    child = Child(name, process, log)
    try:
        await child.send(configuration)
        yield child
    finally:
        kill_now(process)
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us: a crowd is thousands of connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Commands:
    """For the child: the lines of its standard input. The first is its configuration."""

    def __init__(self) -> None:
        self._pending = b""
        while b"\n" not in self._pending:
            chunk = os.read(0, 1 << 20)
            if not chunk:
                raise SystemExit("no configuration on standard input")
            self._pending += chunk
        first, _, self._pending = self._pending.partition(b"\n")
        self.configuration: dict[str, Any] = json.loads(first)

    def serve(
        self, handle: Callable[[dict[str, Any]], None], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[Any]:
        """Hand each further line to `handle`; done when the parent has gone or closed the pipe."""
        ended: asyncio.Future[Any] = loop.create_future()
        loop.set_exception_handler(_end_process)

        def readable() -> None:
            chunk = os.read(0, 1 << 16)
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            for line in lines:
                handle(json.loads(line))
            if not chunk:
                loop.remove_reader(0)
                if not ended.done():
                    ended.set_result(None)

        loop.add_reader(0, readable)
        return ended


def _end_process(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error in a callback ends the child: the parent must not wait for what will never come."""
    loop.default_exception_handler(context)
    logging.shutdown()
    os._exit(1)


def say(message: Mapping[str, Any]) -> None:
    """For the child: one message to the parent."""
    sys.stdout.write(json.dumps(message, separators=(",", ":")) + "\n")
    sys.stdout.flush()
