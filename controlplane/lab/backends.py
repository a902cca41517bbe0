"""Scripted HTTP backends on loopback: what the lanes balance over.

All backends of all lanes live in one child process (`backend_process`). The work that a request
asks for travels with it, in its path (`GET /80000`: 80,000 microseconds at speed 1), so every lane
is given identical work whatever backend serves it. They wait on timers instead of working, so a
request costs next to nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from controlplane.lab.child import Child, ChildError, run_child


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """One backend: `workers` requests at a time, the rest in a FIFO queue."""

    workers: int = 4
    speed: float = 1.0
    """A request's work takes work / speed."""
    kind: str = ""
    """Its class, for people: the lanes are not told."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.speed <= 0:
            raise ValueError("a backend has at least one worker and a speed above 0")

    @property
    def capacity(self) -> float:
        """Seconds of work it does in a second."""
        return self.workers * self.speed


class Happening(StrEnum):
    """What can happen to a backend."""

    SLOW = "slow"
    """What starts from now on takes `value` times as long."""
    FAIL = "fail"
    """The part `value` of the requests is answered 503 at once, without a worker."""
    PAUSE = "pause"
    """Nothing moves for `value` seconds, as in a long garbage collection."""
    RESTORE = "restore"
    """Neither slow nor failing any more."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to one backend, in every lane at the same time."""

    at_s: float
    """After the start of the run."""
    backend: int
    happening: Happening
    value: float = 1.0


@dataclass(frozen=True, slots=True)
class Counters:
    """What one backend has counted since it started, and what it is doing."""

    arrived: int = 0
    served: int = 0
    failed: int = 0
    in_service: int = 0
    queued: int = 0


Counted = Mapping[str, tuple[Counters, ...]]
"""By lane, in the order of the backends."""


class Backends:
    """The running backends of some lanes. Use `run_backends`."""

    def __init__(self, child: Child, ports: Mapping[str, tuple[int, ...]]) -> None:
        self._child = child
        self._asked = 0
        self.ports = ports
        """By lane, in the order of the specs."""

    async def script(self, events: Sequence[Event], start_at_s: float) -> None:
        """Let these happen, counted from `start_at_s` on this machine's monotonic clock."""
        await self._child.send(
            {"start_at_s": start_at_s, "events": [asdict(event) for event in events]}
        )

    async def counters(self, deadline_s: float = 5.0) -> Counted:
        """What they have counted until now."""
        return (await self._ask(deadline_s))[0]

    async def lag_ms(self, deadline_s: float = 5.0) -> dict[str, float]:
        """How late their timers were since the last script: p50, p99, max."""
        return (await self._ask(deadline_s))[1]

    async def _ask(self, deadline_s: float) -> tuple[Counted, dict[str, float]]:
        self._asked += 1
        await self._child.send({"count": self._asked})
        answer = await self._child.receive(deadline_s)
        while answer["count"] < self._asked:  # the answer to a question that was given up
            answer = await self._child.receive(deadline_s)
        counted = {
            lane: tuple(Counters(*numbers) for numbers in backends)
            for lane, backends in answer["counters"].items()
        }
        return counted, answer["lag_ms"]


@contextlib.asynccontextmanager
async def run_backends(
    specs: Sequence[BackendSpec],
    folder: Path,
    *,
    lanes: Sequence[str] = ("lane",),
    orca: Collection[str] = (),
    seed: int = 0,
    deadline_s: float = 20.0,
) -> AsyncIterator[Backends]:
    """Start the same backends once for each lane; ports are chosen by the kernel.

    In the lanes of `orca` each response says how busy its backend is (`endpoint-load-metrics`).
    """
    configuration: dict[str, Any] = {
        "specs": [{"workers": one.workers, "speed": one.speed} for one in specs],
        "lanes": list(lanes),
        "orca": sorted(orca),
        "seed": seed,
    }
    async with run_child(
        "controlplane.lab.backend_process", folder, name="backends", configuration=configuration
    ) as child:
        ready = await child.receive(deadline_s)
        if "ports" not in ready:
            raise ChildError(f"the backends could not start: {ready}")
        yield Backends(child, {lane: tuple(ports) for lane, ports in ready["ports"].items()})
