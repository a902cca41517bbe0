"""Load by h2load (Debian: nghttp2-client), the CPU time of a process, and how quiet the machine is.

What h2load says of its own times is not used for latency. Its log has each request; one that took
longer than the time between two requests of its connection held the next ones back, and those are
put in with the time that they waited (as wrk2 does), so that nothing is left out (no coordinated
omission).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from controlplane.lab.envoy import die_with_parent

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
DEADLINE_S = 120.0
_STAGGER = 1.618
"""Connections begin so many of their intervals apart: then their requests fall evenly, and not all
at once."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends requests, and how."""

    url: str
    http_2: bool = False
    headers: tuple[str, ...] = ()

    def command(self, *options: str) -> list[str]:
        """h2load with these options."""
        version = () if self.http_2 else ("--h1",)
        headers = (part for one in self.headers for part in ("-H", one))
        return ["h2load", *version, *headers, *options, self.url]


@dataclass(frozen=True, slots=True)
class Done:
    """What the client says of a run."""

    answered: int
    """Requests with a status in 200 to 299."""
    seconds: float


STREAMS = 4
"""At a time on a connection of HTTP/2."""


async def as_fast_as_it_goes(client: Client, requests: int, in_flight: int) -> Done:
    """So many requests, so many at a time: on that many connections of HTTP/1.1, or on a fourth of
    them of HTTP/2. Raises `RuntimeError` where one of them was not answered with 2xx."""
    streams = STREAMS if client.http_2 else 1
    shape = ("-n", str(requests), "-c", str(in_flight // streams), "-m", str(streams))
    said = await _run(client.command(*shape))
    took = re.search(r"finished in ([0-9.]+)(us|ms|s|m)\b", said)
    codes = re.search(r"status codes: (\d+) 2xx", said)
    if took is None or codes is None or int(codes.group(1)) != requests:
        raise RuntimeError(f"not every request was answered:\n{said[-800:]}")
    unit_s = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[took.group(2)]
    return Done(requests, float(took.group(1)) * unit_s)


async def at_a_rate(
    client: Client, rate_rps: float, seconds: float, connections: int
) -> NDArray[np.float64]:
    """Open loop: latencies in seconds, in order, from the moment that all connections are there
    until the first of them is done. Raises `RuntimeError` where a request failed."""
    interval_s = connections / rate_rps
    apart_ms = max(1, round(_STAGGER * interval_s * 1e3))
    lead_s = connections * apart_ms / 1e3
    each = round((seconds + lead_s) / interval_s)
    with tempfile.NamedTemporaryFile() as log:
        await _run(
            client.command(
                *("-n", str(each * connections), "-c", str(connections), "-m", "1"),
                *(f"--rps={1 / interval_s:.4f}", "-r", "1", f"--rate-period={apart_ms}ms"),
                f"--log-file={log.name}",
            )
        )
        rows = np.loadtxt(log.name, dtype=np.int64, ndmin=2)
    start_s, status, took_s = rows[:, 0] / 1e6, rows[:, 1], rows[:, 2] / 1e6
    if (status != 200).any():
        raise RuntimeError(f"{(status != 200).sum()} of {len(status)} requests were not answered")
    steady = (start_s >= start_s.min() + lead_s) & (start_s <= start_s.max() - lead_s)
    return unhidden(took_s[steady], interval_s)


def unhidden(took_s: NDArray[np.float64], interval_s: float) -> NDArray[np.float64]:
    """With the requests that waited behind slow ones, in order.

    >>> unhidden(np.array([0.1, 3.5]), 1.0).tolist()
    [0.1, 0.5, 1.5, 2.5, 3.5]
    """
    parts = [took_s]
    waited_s = took_s - interval_s
    while (waited_s := waited_s[waited_s > 0]).size:
        parts.append(waited_s)
        waited_s = waited_s - interval_s
    return np.sort(np.concatenate(parts))


async def _run(command: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    async with asyncio.timeout(DEADLINE_S):
        said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{said.decode()[-800:]}")
    return said.decode()


def cpu_ns(pid: int) -> int:
    """CPU time of a process that runs, user and system, all its threads: the clock that
    clock_getcpuclockid(3) names. /proc/PID/stat has the same in steps of 10 ms."""
    return time.clock_gettime_ns((~pid << 3) | 2)


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """What is started within runs on these alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Machine:
    """All cores since boot, in seconds, and what of it is ours."""

    whole_s: float
    busy_s: float
    stolen_s: float
    ours_s: float

    @classmethod
    def now(cls, pids: Sequence[int]) -> Machine:
        """With these processes, ourselves and our children that have ended."""
        user, nice, system, idle, iowait, irq, softirq, stolen = (
            int(one) * TICK_S for one in Path("/proc/stat").read_text().split()[1:9]
        )
        ours = sum(cpu_ns(pid) for pid in pids) / 1e9
        for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(whose)
            ours += used.ru_utime + used.ru_stime
        busy = user + nice + system + irq + softirq
        return cls(busy + idle + iowait + stolen, busy, stolen, ours)

    def since(self, before: Machine) -> Shares:
        """What of the time between went elsewhere."""
        whole = self.whole_s - before.whole_s
        busy, ours = self.busy_s - before.busy_s, self.ours_s - before.ours_s
        stolen = self.stolen_s - before.stolen_s
        return Shares(max(0.0, busy - ours) / whole, stolen / whole)


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all cores."""

    others: float
    """Other processes, and interrupts."""
    stolen: float
    """Other machines on the same hardware."""

    @property
    def quiet(self) -> bool:
        """Whether latencies can be believed."""
        return self.others < 0.08 and self.stolen < 0.02
