"""A front of several worker processes on one port.

Each worker is told the differences between what it was shown and what the cache holds, at its own
pace: a worker that is slow hears of the newest state alone. One that dies is started again; its
Envoys have gone to the others by then. When this process dies the workers end, and Envoys serve on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.errors import StartupError, TelemetryError, WeirError
from controlplane.front import messages as m
from controlplane.front.channel import Channel, GoneError
from controlplane.front.door import Door
from controlplane.front.proxies import Document, Side, chosen, joined, merged
from controlplane.model import Zone
from controlplane.ports import AccessLogSink, LoadReportSink, RateLimiter
from controlplane.xds import SnapshotCache
from controlplane.xds.csds import Found
from controlplane.xds.kinds import ENDPOINT
from controlplane.xds.staging import Stage, Views
from controlplane.xds.status import Client
from controlplane.xds.stream import View
from controlplane.xds.versions import Resource

logger = structlog.get_logger(__name__)

PING_S = 3.0
HUNG_S = 10.0
"""A worker that says nothing for this long is ended, and started again."""
PART = 32 << 20
"""Bytes of resources in one message."""
START_S = 30.0
"""A worker that does not listen within this is ended."""
ANSWER_S = 2.0
"""How long somebody who asks waits for a worker."""
TAKEN_S = 1.0
"""Workers of a serving process that was killed let go of the port within this."""
STEADY_S = 30.0
"""A worker that lived so long was sound: the next start waits no longer than the first."""
WAITS_S = (0.1, 0.5, 2.0, 10.0)
"""Before a worker is started again, and again."""

T = TypeVar("T")


class Member:
    """One worker process of the pool: what it was told, and the pipe to it."""

    def __init__(self, pool: Pool, index: int) -> None:
        self._pool = pool
        self.index = index
        self.channel = Channel(self._take, self._answer)
        self.port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.port.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._views: dict[str, Views] = {}
        self._stages: dict[str, Stage] = {}
        self._behind: dict[str, None] = {}
        self._gateways: tuple[str, ...] | None = None
        self._wake = asyncio.Event()
        self._heard_s = time.monotonic()

    @property
    def listens(self) -> bool:
        """Whether it serves."""
        return self.port.done() and self.port.exception() is None

    def changed(self, *fleets: str) -> None:
        """The cache holds something else for these fleets, or the Gateways are others."""
        self._behind.update(dict.fromkeys(fleets))
        self._wake.set()

    async def feed(self) -> None:
        """Tell it what changed, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.catch_up()

    async def watch(self) -> None:
        """Ask whether it is there, for ever. Raises `GoneError` when it is not."""
        while True:
            await asyncio.sleep(PING_S)
            try:
                await self.channel.ask(m.Ping(), type(None), HUNG_S)
            except GoneError:
                if time.monotonic() - self._heard_s > HUNG_S:
                    raise

    async def catch_up(self) -> None:
        """Tell it all that it has not heard of."""
        if self._gateways is not self._pool.gateways:
            self._gateways = self._pool.gateways
            await self.channel.send(m.Gateways(self._gateways))
        while self._behind:
            fleet = next(iter(self._behind))
            del self._behind[fleet]
            await self._tell(fleet)

    async def _tell(self, fleet: str) -> None:
        views, stage = self._pool.cache.views(fleet), self._pool.cache.staged(fleet)
        if views is not None and views is not self._views.get(fleet):
            before = self._views.get(fleet)
            self._views[fleet] = views
            await self._show(differences(fleet, before, views))
        known = self._stages.get(fleet)
        if stage is None and known is not None:
            del self._stages[fleet]
            await self.channel.send(m.EndStage(fleet))
        elif stage is not None and stage is not known:
            self._stages[fleet] = stage
            old = known.views if known is not None else None
            await self._show(differences(fleet, old, stage.views, stage.share))

    async def _show(self, told: Iterable[m.Show]) -> None:
        for one in told:
            for part in parts(one):
                await self.channel.send(part)

    async def _take(self, message: m.Any) -> None:
        self._heard_s = time.monotonic()
        match message:
            case m.AccessLogs():
                with self._pool.garbage(self.index):
                    self._pool.access_logs.on_access_logs(message.proxy, message.body)
            case m.LoadReport():
                with self._pool.garbage(self.index):
                    self._pool.load_reports.on_load_report(
                        message.proxy, message.body, first=message.first
                    )
            case m.Listening():
                self.port.set_result(message.port)
            case m.Failed() if not self.port.done():
                self.port.set_exception(StartupError(message.why))
            case _:
                raise WeirError(f"a worker said {type(message).__name__}")

    async def _answer(self, question: m.Question) -> object:
        match question:
            case m.ShouldRateLimit():
                return await self._pool.rate_limits.decide(question.request)
            case m.Statuses():
                return await self._pool.ask(question, Found, but=self.index, strict=True)
            case _:
                raise WeirError(f"a worker asked for {type(question).__name__}")


class Pool:
    """A `Front` of so many processes. Every one is owned by a task of ours, and so is its pipe."""

    def __init__(
        self,
        door: Door,
        workers: int,
        cache: SnapshotCache,
        *,
        access_logs: AccessLogSink,
        load_reports: LoadReportSink,
        rate_limits: RateLimiter,
        registry: CollectorRegistry,
        log_level: str = "info",
        log_format: Literal["console", "json"] = "console",
    ) -> None:
        door.gate()  # what is wrong with it is said here and not by every worker
        self.cache = cache
        self.access_logs = access_logs
        self.load_reports = load_reports
        self.rate_limits = rate_limits
        self._door = door
        self._count = workers
        self._logs = (log_level, log_format)
        self.gateways: tuple[str, ...] = ()
        """Those that are declared."""
        self._members: dict[int, Member] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._reserved: socket.socket | None = None
        self._stopping = False
        self.families: Sequence[tuple[int, list[m.Family]]] = ()
        """What each worker had on /metrics at the last `refresh`, by its index."""
        self.restarts = 0
        self.unreadable = 0
        self.port = 0
        """The port that all listen on, once started."""
        registry.register(PoolCollector(self))

    async def start(self) -> None:
        """Start all, and wait until they listen. Raises `StartupError`."""
        host, _, port = self._door.address.rpartition(":")
        self._reserved, self.port = await reserve(host.strip("[]"), int(port))
        self._loop = asyncio.get_running_loop()
        self.cache.listen(self._on_change)
        ready = [self._loop.create_future() for _ in range(self._count)]
        self._tasks = [
            self._loop.create_task(self._keep(index, first), name=f"worker {index}")
            for index, first in enumerate(ready)
        ]
        try:
            await asyncio.gather(*ready)
        except BaseException:
            await self._end()
            raise

    async def stop(self, grace_s: float = 5.0) -> None:
        """Have each end its streams. Who does not end by itself is ended."""
        if self._reserved is None:
            return
        self._stopping = True
        for member in self._members.values():
            member.channel.tell(m.Stop(grace_s))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s + 2.0):
                await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end()

    def know(self, gateways: Iterable[str]) -> None:
        """The Gateways that are declared."""
        self.gateways = tuple(gateways)
        for member in self._members.values():
            member.changed()

    async def clients(self, fleet: str) -> Sequence[Client]:
        """The streams of a fleet. Raises `WeirError` when a worker does not answer."""
        return [client for part in await self.by_worker(fleet) for client in part]

    async def by_worker(self, fleet: str) -> list[tuple[Client, ...]]:
        """The same, by the worker that has them."""
        return await self.ask(m.Clients(fleet), tuple[Client, ...], strict=True)

    async def proxies(self) -> list[Document]:
        """Every connected Envoy."""
        return joined(await self.ask(m.Proxies(), list[Document]))

    async def proxy(self, node: str) -> Document | None:
        """One of them."""
        return chosen(joined(await self.ask(m.Proxies(node), list[Document])))

    async def resources(self, node: str, side: Side, only: str | None) -> Document | None:
        """What one of them should run, or has ACKed. Raises `WeirError`."""
        question = m.Resources(node, side, only)
        found = await self.ask(question, list[Document], strict=True)
        documents = [document for part in found for document in part]
        return merged(documents) if documents else None

    async def refresh(self) -> None:
        """Ask all for what they have on /metrics."""
        self.families = await self._answers(m.Metrics(), list[m.Family])

    async def ask(
        self, question: m.Question, wanted: type[T], *, but: int = -1, strict: bool = False
    ) -> list[T]:
        """The answers of all, or of all but one. Who does not answer is left out.

        With `strict` that is a `WeirError` instead: then it is all of them or nothing.
        """
        answers = await self._answers(question, wanted, but=but, strict=strict)
        return [answer for _, answer in answers]

    async def _answers(
        self, question: m.Question, wanted: type[T], *, but: int = -1, strict: bool = False
    ) -> list[tuple[int, T]]:
        """The same, with the index of the worker that each is from."""
        members = [one for one in self._members.values() if one.index != but]
        asked = (self._ask(one, question, wanted, strict=strict) for one in members)
        found = zip(members, await asyncio.gather(*asked), strict=True)
        return [(member.index, answer) for member, answer in found if answer is not None]

    async def _ask(
        self, member: Member, question: m.Question, wanted: type[T], *, strict: bool
    ) -> T | None:
        try:
            return await member.channel.ask(question, wanted, ANSWER_S)
        except WeirError as error:
            if strict:
                raise
            logger.warning("a worker did not answer", worker=member.index, why=str(error))
            return None

    @contextlib.contextmanager
    def garbage(self, index: int) -> Iterator[None]:
        """What a worker let through and cannot be read is counted, and does not end the pipe."""
        try:
            yield
        except TelemetryError as error:
            self.unreadable += 1
            logger.debug("unreadable report", worker=index, why=str(error))

    @property
    def ready(self) -> bool:
        """Whether anybody listens."""
        return self.serving > 0

    @property
    def serving(self) -> int:
        """How many listen."""
        return sum(one.listens for one in self._members.values())

    def _on_change(self, fleet: str) -> None:
        self._loop.call_soon_threadsafe(self._mark, fleet)

    def _mark(self, fleet: str) -> None:
        for member in self._members.values():
            member.changed(fleet)

    async def _keep(self, index: int, ready: asyncio.Future[None]) -> None:
        """Have this worker running, until we stop."""
        failures = 0
        while not self._stopping:
            began_s = time.monotonic()
            try:
                await self._one_life(index, ready)
                why = "it ended"
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker is not given up
                if not ready.done():
                    ready.set_exception(StartupError(str(error)))
                    return
                why = str(error) or repr(error)
            if self._stopping:
                return
            self.restarts += 1
            if time.monotonic() - began_s > STEADY_S:
                failures = 0
            wait_s = WAITS_S[min(failures, len(WAITS_S) - 1)] * random.uniform(0.75, 1.25)  # noqa: S311
            failures += 1
            logger.error("a worker is started again", worker=index, why=why, in_s=round(wait_s, 2))
            await asyncio.sleep(wait_s)

    async def _one_life(self, index: int, ready: asyncio.Future[None]) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await _spawn(theirs)
        except BaseException:
            ours.close()
            raise
        member = Member(self, index)
        owned: list[asyncio.Task[None]] = []

        def own(what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            task = self._loop.create_task(what)
            owned.append(task)
            return task

        try:
            await member.channel.open(ours)
            reading = own(member.channel.run())
            await self._bring_up(member, reading)
            if not ready.done():
                ready.set_result(None)
            own(member.feed())
            own(member.watch())
            done, _ = await asyncio.wait({*owned}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping:
                await process.wait()
                return
            for task in done:
                task.result()
        finally:
            self._members.pop(index, None)
            for task in owned:
                task.cancel()
            member.channel.close()
            await _end_now(process)
            await asyncio.gather(*owned, return_exceptions=True)

    async def _bring_up(self, member: Member, reading: asyncio.Task[None]) -> None:
        """It listens once it knows all that it is to serve. Raises `WeirError`."""
        self._members[member.index] = member
        member.changed(*self.cache.groups())
        level, style = self._logs
        door = replace(self._door, address=self._listened())
        await member.channel.send(m.Setup(door, level, style))
        await member.catch_up()
        await member.channel.send(m.Listen())
        either: set[asyncio.Future[Any]] = {member.port, reading}
        done, _ = await asyncio.wait(either, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if member.port not in done:
            raise StartupError("a worker ended" if done else f"no worker after {START_S:g} s")
        await member.port

    def _listened(self) -> str:
        host, _, _ = self._door.address.rpartition(":")
        return f"{host}:{self.port}"

    async def _end(self) -> None:
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._reserved is not None:
            self.cache.unlisten(self._on_change)
            self._reserved.close()
            self._reserved = None


async def _spawn(end: socket.socket) -> asyncio.subprocess.Process:
    """A worker process with this end of the pipe. When we are cancelled meanwhile, none is left."""
    spawning = asyncio.create_task(
        asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "controlplane.front.worker", str(end.fileno())),
            pass_fds=(end.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
        )
    )
    try:
        return await asyncio.shield(spawning)
    except asyncio.CancelledError:
        await _end_now(await spawning)
        raise


async def _end_now(process: asyncio.subprocess.Process) -> None:
    """kill -9, and wait for the end of it also when we are cancelled meanwhile: the loop must not
    be closed before it knows."""
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.kill()
    ended = asyncio.create_task(process.wait())
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        await ended
        raise


class PoolCollector(Collector):
    """What the workers have on /metrics, each with a label of its own."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def describe(self) -> Iterator[Metric]:
        """Nothing is read while registering."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """As of the last `refresh`."""
        families: dict[str, Metric] = {}
        for index, told in self._pool.families:
            for one in told:
                family = families.get(one.name)
                if family is None:
                    family = families[one.name] = Metric(one.name, one.text, one.kind)
                for name, labels, value in one.samples:
                    family.add_sample(name, {**labels, "worker": str(index)}, value)
        yield from families.values()
        yield GaugeMetricFamily(
            "weir_workers", "Worker processes that serve.", value=self._pool.serving
        )
        yield CounterMetricFamily(
            "weir_worker_restarts",
            "Workers that ended and were started again.",
            value=self._pool.restarts,
        )
        yield CounterMetricFamily(
            "weir_worker_unreadable_reports",
            "Reports of Envoys that a worker handed on and that could not be read.",
            value=self._pool.unreadable,
        )


def differences(
    fleet: str, before: Views | None, now: Views, share: float | None = None
) -> Iterator[m.Show]:
    """What somebody who was shown one is to be told to know the other: what is common, and then
    what differs in each place. Nothing is shown before the last."""
    places = tuple(now.by_place)
    told = difference(fleet, before.common if before is not None else None, now.common, share)
    yield msgspec.structs.replace(told, places=places, more=bool(places))
    for place in places:
        had = _own(before, place) if before is not None else {}
        has = _own(now, place)
        put = {name: one.body for name, one in has.items() if had.get(name) is not one}
        gone = tuple(name for name in had if name not in has)
        yield m.Show(
            fleet,
            (),
            {ENDPOINT: put},
            {ENDPOINT: gone},
            share,
            more=place is not places[-1],
            where=place,
        )


def _own(views: Views, place: Zone) -> dict[str, Resource]:
    """The endpoint assignments that are others there."""
    common, here = views.common.get(ENDPOINT), views.by_place.get(place, {}).get(ENDPOINT)
    if common is None or here is None:
        return {}
    return {n: one for n, one in here.by_name.items() if common.by_name.get(n) is not one}


def difference(fleet: str, before: View | None, now: View, share: float | None = None) -> m.Show:
    """The same of one view, to know the other."""
    put: dict[str, dict[str, bytes]] = {}
    gone: dict[str, tuple[str, ...]] = {}
    for url, resources in now.items():
        old = before.get(url) if before is not None else None
        if old is resources:
            continue
        had = old.by_name if old is not None else {}
        named = resources.by_name
        put[url] = {name: one.body for name, one in named.items() if had.get(name) is not one}
        gone[url] = tuple(name for name in had if name not in named)
    return m.Show(fleet, tuple(now), put, gone, share)


def parts(told: m.Show, most: int = PART) -> Iterator[m.Show]:
    """The same in messages of about this many bytes of resources, none of which shows anything
    before the last. What is gone is gone with each."""
    put: dict[str, dict[str, bytes]] = {}
    size = 0
    for url, bodies in told.put.items():
        put[url] = {}
        for name, body in bodies.items():
            if size > most:
                yield msgspec.structs.replace(told, put=put, more=True)
                put, size = {url: {}}, 0
            put[url][name] = body
            size += len(name) + len(body)
    yield msgspec.structs.replace(told, put=put)


async def reserve(host: str, port: int) -> tuple[socket.socket, int]:
    """Hold a port for workers to share, and say which. Raises `StartupError` when it is taken.

    A socket that is bound and does not listen gets no connection. Whether anybody else listens is
    seen by binding without SO_REUSEPORT first.
    """
    until_s = time.monotonic() + TAKEN_S
    while True:
        try:
            return _reserve(host, port)
        except OSError as error:
            if time.monotonic() >= until_s:
                raise StartupError(
                    f"cannot listen for xDS on {host}:{port}: {error}; is it taken?"
                ) from error
        await asyncio.sleep(0.1)


def _reserve(host: str, port: int) -> tuple[socket.socket, int]:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(address)
        alone.listen(1)
        port = int(alone.getsockname()[1])
    held = socket.socket(family, kind)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((address[0], port, *address[2:]))
    except OSError:
        held.close()
        raise
    return held, port
