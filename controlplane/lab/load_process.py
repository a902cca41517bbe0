"""The process of the load generator: raw HTTP/1.1 over kept-alive connections, one pool an Envoy.

`python -m controlplane.lab.load_process`, started by `load.play`.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from typing import Any, cast

import numpy as np
import uvloop

from controlplane.lab.child import Commands, say
from controlplane.lab.lag import Lag
from controlplane.lab.results import Outcome

LIVE_EVERY_S = 0.5
RECENT_S = 5.0
SWEEP_EVERY_S = 0.1
OPEN_AT_START = 2
"""Connections to each Envoy that stand before the first request."""


class Lane:
    """The requests to one lane: sent, in flight, done."""

    def __init__(
        self, addresses: list[int | str], requests: int, deadline_s: float, bound: int
    ) -> None:
        self.pools = [Pool(self, address) for address in addresses]
        self.latency_us = [-1] * requests
        self.status = [0] * requests
        self.in_flight: dict[int, tuple[float, Connection | None]] = {}
        """Request -> (scheduled at, its connection); in the order of sending."""
        self.recent: deque[tuple[float, float]] = deque()
        """(ended at, latency) of successful requests of the last seconds."""
        self.done = self.errors = 0
        self._deadline_s = deadline_s
        self._bound = bound

    def send(self, request: int, envoy: int, work_us: int, due_s: float) -> None:
        """Send it now; `due_s` is when it was scheduled."""
        if len(self.in_flight) >= self._bound:
            self.end(request, Outcome.TOO_MANY)
            return
        self.in_flight[request] = (due_s, None)
        self.pools[envoy].send(request, work_us)

    def end(self, request: int, status: int) -> None:
        """A request came to its end; once."""
        due_s, _ = self.in_flight.pop(request, (None, None))
        if due_s is None and status != Outcome.TOO_MANY:
            return
        self.status[request] = status
        self.done += 1
        if status == 200 and due_s is not None:
            now = time.monotonic()
            self.latency_us[request] = round((now - due_s) * 1e6)
            self.recent.append((now, now - due_s))
        else:
            self.errors += 1

    def sweep(self, now: float) -> None:
        """End what is past its deadline. They are in order, so only the oldest are looked at."""
        while self.in_flight:
            request, (due_s, connection) = next(iter(self.in_flight.items()))
            if now - due_s < self._deadline_s:
                break
            self.end(request, Outcome.DEADLINE)
            if connection is not None:
                connection.abort()
        while self.recent and self.recent[0][0] < now - RECENT_S:
            self.recent.popleft()

    def live(self, counted_from: int, until: int) -> dict[str, Any]:
        """The numbers of `load.LiveLane`."""
        so_far = np.array(self.latency_us[counted_from:until], dtype=np.float64)
        so_far = so_far[so_far >= 0] / 1e3
        recent = np.array([1e3 * latency for _, latency in self.recent])
        return {
            "done": self.done,
            "errors": self.errors,
            "in_flight": len(self.in_flight),
            **_numbers("", so_far),
            **_numbers("now_", recent),
        }


def _numbers(prefix: str, values_ms: np.ndarray[Any, Any]) -> dict[str, float | None]:
    names = (f"{prefix}mean_ms", f"{prefix}p50_ms", f"{prefix}p99_ms")
    if not len(values_ms):
        return dict.fromkeys(names)
    p50, p99 = np.quantile(values_ms, (0.5, 0.99))
    numbers = (float(values_ms.mean()), float(p50), float(p99))
    return dict(zip(names, (round(one, 3) for one in numbers), strict=True))


class Pool:
    """Kept-alive connections to one Envoy; the last one used is used first."""

    def __init__(self, lane: Lane, address: int | str) -> None:
        """`address`: a port of this machine, or `host:port`."""
        host, _, port = str(address).rpartition(":")
        self.lane = lane
        self.idle: list[Connection] = []
        self._host, self._port = host or "127.0.0.1", int(port)
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._head = f"host: weir.demo:{port}\r\n\r\n".encode()

    def send(self, request: int, work_us: int) -> None:
        """On an idle connection, or on a new one."""
        message = b"GET /%d HTTP/1.1\r\n%b" % (work_us, self._head)
        if self.idle:
            self.idle.pop().send(request, message)
        else:
            self.open((request, message))

    def open(self, first: tuple[int, bytes] | None) -> None:
        """A new connection, and what to send on it first."""
        task = self._loop.create_task(self._open(first))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, first: tuple[int, bytes] | None) -> None:
        try:
            async with asyncio.timeout(5.0):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self), self._host, self._port
                )
        except (OSError, TimeoutError):
            if first is not None:
                self.lane.end(first[0], Outcome.REFUSED)
            return
        if first is not None and first[0] in self.lane.in_flight:
            connection.send(*first)
        else:
            self.idle.append(connection)

    async def opened(self) -> None:
        """Until no connection is being opened."""
        while self._opening:
            await asyncio.wait(self._opening)


class Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._request: int | None = None
        self._buffer = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to send."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def send(self, request: int, message: bytes) -> None:
        """A question; the connection is not idle any more."""
        self._request = request
        flying = self._pool.lane.in_flight
        flying[request] = (flying[request][0], self)
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        self._buffer = self._buffer + data if self._buffer else data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        head = head.lower()
        length = _field(head, b"\r\ncontent-length:")
        if not head.startswith(b"http/1.1 ") or not length.isdigit() or self._request is None:
            self._finish(Outcome.NOT_HTTP, keep=False)
        elif len(body) >= int(length):
            self._finish(int(head[9:12]), keep=b"close" not in _field(head, b"\r\nconnection:"))

    def connection_lost(self, exc: Exception | None) -> None:
        """A request that had no answer yet has failed."""
        if self._request is not None:
            self._finish(Outcome.CLOSED, keep=False)
        elif self in self._pool.idle:
            self._pool.idle.remove(self)

    def abort(self) -> None:
        """The deadline passed: its answer is not wanted any more."""
        self._request = None
        self._transport.abort()

    def _finish(self, status: int, keep: bool) -> None:
        request, self._request, self._buffer = self._request, None, b""
        if request is not None:
            self._pool.lane.end(request, status)
        if keep:
            self._pool.idle.append(self)
        else:
            self._transport.abort()


def _field(head: bytes, name: bytes) -> bytes:
    return head.partition(name)[2].partition(b"\r\n")[0].strip()


class Player:
    """Plays a schedule to the lanes."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        self._at_s: list[float] = configuration["at_s"]
        self._work_us: list[int] = configuration["work_us"]
        self._envoy: list[int] = configuration["envoy"]
        self._start_s = 0.0
        self._deadline_s: float = configuration["deadline_s"]
        self._until_s: float = configuration["until_s"]
        count = len(self._at_s)
        self._lanes = {
            name: Lane(addresses, count, self._deadline_s, configuration["max_in_flight"])
            for name, addresses in configuration["lanes"].items()
        }
        self._order = list(self._lanes.values())
        self._lag = Lag()
        self._next = 0
        self._counted_from = int(np.searchsorted(np.array(self._at_s), 0.0))
        self._loop = asyncio.get_running_loop()
        self._sent = self._loop.create_future()

    async def connect(self) -> None:
        """Open some connections to every Envoy."""
        for lane in self._order:
            for pool in lane.pools:
                for _ in range(OPEN_AT_START):
                    pool.open(None)
        for lane in self._order:
            for pool in lane.pools:
                await pool.opened()

    async def run(self, start_at_s: float) -> dict[str, Any]:
        """Play, wait for what is in flight, tell."""
        self._start_s = start_at_s
        gc.freeze()
        gc.disable()  # nothing here makes cycles, and a collection would delay what is due
        sweeper = self._loop.create_task(self._sweep())
        try:
            self._send_due()
            await self._sent
            await self._answered()
        finally:
            sweeper.cancel()
        lanes = {
            name: {"latency_us": lane.latency_us, "status": lane.status}
            for name, lane in self._lanes.items()
        }
        return {"kind": "done", "lanes": lanes, "lag": self._lag.summary()}

    def _send_due(self) -> None:
        """Send all that is due and come back for the next."""
        at_s, start_s = self._at_s, self._start_s
        now = time.monotonic()
        while self._next < len(at_s) and start_s + at_s[self._next] <= now:
            request, self._next = self._next, self._next + 1
            due_s = start_s + at_s[request]
            for lane in self._order:
                lane.send(request, self._envoy[request], self._work_us[request], due_s)
            self._order.append(self._order.pop(0))  # no lane is always the first
            now = time.monotonic()
            if request >= self._counted_from:
                self._lag.add(now - due_s)
        if self._next < len(at_s):
            self._loop.call_later(max(0.001, start_s + at_s[self._next] - now), self._send_due)
        else:
            self._sent.set_result(None)

    async def _answered(self) -> None:
        """Until the schedule's end and the last answer; the sweep ends what has none."""
        await asyncio.sleep(max(0.0, self._start_s + self._until_s - time.monotonic()))
        while any(lane.in_flight for lane in self._order):  # noqa: ASYNC110 - the sweep ends it
            await asyncio.sleep(0.02)

    async def _sweep(self) -> None:
        next_live = time.monotonic()
        while True:
            now = time.monotonic()
            for lane in self._order:
                lane.sweep(now)
            if now >= next_live:
                next_live = now + LIVE_EVERY_S
                say(self._live(now))
            await asyncio.sleep(SWEEP_EVERY_S)

    def _live(self, now: float) -> dict[str, Any]:
        lanes = {
            name: lane.live(self._counted_from, self._next) for name, lane in self._lanes.items()
        }
        return {
            "kind": "live",
            "at_s": round(now - self._start_s, 3),
            "lanes": lanes,
            "lag": self._lag.summary(),
        }


async def serve(commands: Commands) -> None:
    """One run; it ends early when the parent is gone."""
    loop = asyncio.get_running_loop()
    start: asyncio.Future[float] = loop.create_future()
    gone = commands.serve(lambda command: start.set_result(command["start_at_s"]), loop)
    player = Player(commands.configuration)

    async def run() -> None:
        await player.connect()
        say({"kind": "ready"})
        say(await player.run(await start))

    running = loop.create_task(run())
    ends: tuple[asyncio.Future[Any], ...] = (running, gone)
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    else:
        running.cancel()


if __name__ == "__main__":
    uvloop.run(serve(Commands()))
