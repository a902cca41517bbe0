"""The process of the backends: raw HTTP/1.1 over asyncio protocols, timers instead of work.

`python -m controlplane.lab.backend_process`, started by `backends.run_backends`.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import uvloop

from controlplane.lab.backends import BackendSpec
from controlplane.lab.child import Commands, say
from controlplane.lab.lag import Lag
from controlplane.lab.orca import LoadReport
from controlplane.lab.station import Job, Station

MAX_HEAD_BYTES = 65_536
FAIL_AFTER_S = 0.002
"""A request that fails fast is answered after this."""

_OK = (b"HTTP/1.1 200 OK\r\n", b"content-length: 2\r\n\r\nok")
_FAILED = (b"HTTP/1.1 503 Service Unavailable\r\n", b"content-length: 6\r\n\r\nfailed")
_FULL = (b"HTTP/1.1 503 Service Unavailable\r\n", b"content-length: 4\r\n\r\nfull")
_BAD = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Backend:
    """One backend of one lane."""

    def __init__(
        self, station: Station[Connection], lag: Lag, rng: random.Random, orca: bool
    ) -> None:
        self.station = station
        self.loop = asyncio.get_running_loop()
        self.arrived = self.served = self.failed = 0
        self.failing = 0.0
        self._lag = lag
        self._rng = rng
        self._report = LoadReport(station.workers, time.monotonic()) if orca else None

    def arrive(self, connection: Connection, work_s: float) -> None:
        """A request came in."""
        self.arrived += 1
        if self.failing and self._rng.random() < self.failing:
            self.loop.call_later(FAIL_AFTER_S, self._fail, connection, _FAILED)
            return
        now = time.monotonic()
        job = Job(work_s, connection)
        started = self.station.arrive(job, now)
        if started:
            self.loop.call_later(job.finish_s - now, self._finish, job)
        elif started is None:
            self._fail(connection, _FULL)
            return
        connection.job = job
        self._account(now)

    def _fail(self, connection: Connection, answer: tuple[bytes, bytes]) -> None:
        self.failed += 1
        self._answer(connection, answer, time.monotonic(), failed=True)

    def _finish(self, job: Job[Connection]) -> None:
        now = time.monotonic()
        late = now - job.finish_s
        if late < -0.001:  # the end was moved by a pause
            self.loop.call_later(-late, self._finish, job)
            return
        self._lag.add(late)
        self.served += 1
        following = self.station.finish(job, now)
        if following is not None:
            self.loop.call_later(following.finish_s - now, self._finish, following)
        self._account(now)
        self._answer(job.who, _OK, now, failed=False)

    def happen(self, happening: str, value: float) -> None:
        """One event of the script."""
        if happening == "slow":
            self.station.slowdown = value
        elif happening == "fail":
            self.failing = value
        elif happening == "pause":
            self.station.pause(time.monotonic(), value)
        else:
            self.station.slowdown, self.failing = 1.0, 0.0

    def counters(self) -> list[int]:
        """In the order of `backends.Counters`."""
        station = self.station
        return [self.arrived, self.served, self.failed, len(station.serving), station.queued]

    def _account(self, now: float) -> None:
        if self._report is not None:
            self._report.busy(len(self.station.serving), now)

    def _answer(
        self, connection: Connection, answer: tuple[bytes, bytes], now: float, *, failed: bool
    ) -> None:
        head, rest = answer
        if self._report is not None:
            self._report.ended(now, failed=failed)
            head += self._report.header() + b"\r\n"
        connection.answer(head + rest)


class Connection(asyncio.Protocol):
    """One connection of an Envoy: one request at a time, kept alive."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""
        self._answering = False
        self.job: Job[Connection] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """What waits for this client leaves the queue; what is in service is finished."""
        self._transport = None
        if self.job is not None:
            self._backend.station.drop(self.job)

    def data_received(self, data: bytes) -> None:
        """Collect a head; the work stands in its path."""
        self._buffer += data
        if not self._answering:
            self._next()

    def _next(self) -> None:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            if len(head) > MAX_HEAD_BYTES:
                self._refuse()
            return
        self._buffer = rest
        method, _, path = head[:64].partition(b" /")
        work = path.partition(b" ")[0]
        if method != b"GET" or not work.isdigit():
            self._refuse()
            return
        self._answering = True
        self._backend.arrive(self, int(work) / 1e6)

    def _refuse(self) -> None:
        self._buffer = b""
        if self._transport is not None:
            self._transport.write(_BAD)
            self._transport.close()

    def answer(self, response: bytes) -> None:
        """Send it, if the client is still there, and look at what came meanwhile."""
        self.job = None
        self._answering = False
        if self._transport is not None:
            self._transport.write(response)
            if self._buffer:
                self._next()


async def serve(commands: Commands) -> None:
    """Until the parent is gone."""
    loop = asyncio.get_running_loop()
    configuration = commands.configuration
    rng = random.Random(configuration["seed"])  # noqa: S311 - a script, not a secret
    lag = Lag()
    servers = []
    lanes: dict[str, list[Backend]] = {}
    ports: dict[str, list[int]] = {}
    for lane in configuration["lanes"]:
        lanes[lane], ports[lane] = [], []
        for spec in configuration["specs"]:
            station: Station[Connection] = Station(spec["workers"], spec["speed"])
            backend = Backend(station, lag, rng, lane in configuration["orca"])
            server = await loop.create_server(
                partial(Connection, backend), "127.0.0.1", 0, backlog=1024
            )
            servers.append(server)
            lanes[lane].append(backend)
            ports[lane].append(server.sockets[0].getsockname()[1])
    say({"ports": ports})

    def handle(command: dict[str, Any]) -> None:
        if "events" in command:
            lag.reset()
            _script(loop, lanes, command)
        else:
            counters = {lane: [one.counters() for one in all_] for lane, all_ in lanes.items()}
            say({"count": command["count"], "counters": counters, "lag_ms": lag.summary()})

    await commands.serve(handle, loop)
    for server in servers:
        server.close()


async def alone(host: str, port: int, spec: BackendSpec, spells: Spells | None) -> None:
    """One backend at an address of its own, until SIGTERM: where the lab is many machines. It says
    how busy it is (ORCA)."""
    loop = asyncio.get_running_loop()
    rng = random.Random(port)  # noqa: S311 - a script, not a secret
    station: Station[Connection] = Station(spec.workers, spec.speed)
    backend = Backend(station, Lag(), rng, orca=True)
    told_to_end = asyncio.Event()
    # The first process of a container is ended by no signal that it does not listen to.
    loop.add_signal_handler(signal.SIGTERM, told_to_end.set)
    server = await loop.create_server(partial(Connection, backend), host, port, backlog=1024)
    slow = asyncio.create_task(_spell(backend, spells)) if spells is not None else None
    await told_to_end.wait()
    server.close()
    if slow is not None:
        slow.cancel()


async def _spell(backend: Backend, spells: Spells) -> None:
    while True:
        await asyncio.sleep(spells.every_s - spells.lasts_s)
        backend.happen("slow", spells.factor)
        await asyncio.sleep(spells.lasts_s)
        backend.happen("restore", 0.0)


@dataclass(frozen=True, slots=True)
class Spells:
    """Times at which a backend is slow, again and again."""

    every_s: float
    lasts_s: float
    factor: float
    """What starts then takes so many times as long."""

    def __post_init__(self) -> None:
        if not 0.0 < self.lasts_s < self.every_s or self.factor <= 0.0:
            raise ValueError("a spell lasts less long than it is apart, and has a factor above 0")


def _script(
    loop: asyncio.AbstractEventLoop, lanes: dict[str, list[Backend]], command: dict[str, Any]
) -> None:
    for event in command["events"]:
        wait_s = command["start_at_s"] + event["at_s"] - time.monotonic()
        for backends in lanes.values():
            backend = backends[event["backend"]]
            loop.call_later(max(0.0, wait_s), backend.happen, event["happening"], event["value"])


if __name__ == "__main__":
    uvloop.run(serve(Commands()))
