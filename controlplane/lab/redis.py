"""One real Redis as a child process on loopback, for tests and examples.

The binary is `redis-server` on the PATH (Debian: apt-get install redis-server). It keeps nothing on
disk and dies with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from controlplane.errors import StartupError
from controlplane.lab.envoy import die_with_parent, free_port, log_tail


@dataclass(frozen=True, slots=True)
class Redis:
    """A running Redis. Use `run_redis`."""

    process: asyncio.subprocess.Process
    port: int

    @property
    def url(self) -> str:
        """As it is given to `weir serve`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def hang(self, hung: bool) -> None:
        """Stop answering, with connections open; or go on."""
        self.process.send_signal(signal.SIGSTOP if hung else signal.SIGCONT)


def redis_binary() -> str:
    """Where the binary is. Raises `StartupError` with advice when there is none."""
    found = shutil.which("redis-server")
    if found is None:
        raise StartupError("no redis-server: apt-get install redis-server")
    return found


@contextlib.asynccontextmanager
async def run_redis(
    folder: Path, port: int | None = None, wait_s: float = 20.0
) -> AsyncIterator[Redis]:
    """Start one Redis on this port, or on one that is free, and stop it at the end."""
    listens = port or free_port()
    log = folder / "redis.log"
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            redis_binary(),
            *("--bind", "127.0.0.1", "--port", str(listens), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=die_with_parent,
        )
    redis = Redis(process, listens)
    try:
        if not await _answers(redis, wait_s):
            raise StartupError(
                f"Redis did not answer within {wait_s:.0f} s; its log ends:\n{log_tail(log)}"
            )
        yield redis
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _answers(redis: Redis, deadline_s: float) -> bool:
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s and redis.process.returncode is None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
            writer.write(b"PING\r\n")
            answer = await reader.readline()
            writer.close()
            if answer == b"+PONG\r\n":
                return True
        await asyncio.sleep(0.05)
    return False
