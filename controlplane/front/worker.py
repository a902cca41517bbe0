"""A worker process: serves Envoys what the serving process says, and hands on what they report.

Started by `pool` as `python -m controlplane.front.worker FD`, where FD is its end of a socket pair.
It has no opinion: it holds the snapshots that it was told, and it ends when the other end does.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
import uvloop
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry, Counter, ProcessCollector

from controlplane._pb import access_log_pb2, load_stats_pb2
from controlplane.errors import TelemetryError, WeirError
from controlplane.front import messages as m
from controlplane.front.channel import Channel
from controlplane.front.proxies import Clock, TooLargeError, proxies, resources
from controlplane.model import Proxy, Zone, fleet_of
from controlplane.telemetry.logs import configure_logging
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.csds import Found
from controlplane.xds.gate import Peer
from controlplane.xds.kinds import ENDPOINT

logger = structlog.get_logger(__name__)

OTHERS_S = 3.0
"""How long the other workers may take to tell of their clients."""

DECIDED_S = 1.0
"""No Envoy waits for a decision for so long."""

_PR_SET_PDEATHSIG = 1
_Bodies = dict[str, dict[str, bytes]]


@dataclass(slots=True)
class _Held:
    """A snapshot as it was told: the bytes objects, so that what stays costs no hash."""

    bodies: _Bodies = field(default_factory=dict)
    by_place: dict[Zone, dict[str, bytes]] = field(default_factory=dict)

    def told(self, what: m.Show) -> _Held:
        """The same after that. What is not told of stays as it is."""
        if what.where is not None:
            here = _changed(self.by_place.get(what.where, {}), ENDPOINT, what)
            return _Held(self.bodies, {**self.by_place, what.where: here})
        return _Held(
            {url: _changed(self.bodies.get(url, {}), url, what) for url in what.types},
            {place: self.by_place.get(place, {}) for place in what.places},
        )


def _changed(before: Mapping[str, bytes], url: str, what: m.Show) -> dict[str, bytes]:
    now = dict(before)
    for name in what.gone.get(url, ()):
        now.pop(name, None)
    now.update(what.put.get(url, {}))
    return now


class Shown:
    """A cache that is told differences."""

    def __init__(self, cache: SnapshotCache) -> None:
        self._cache = cache
        self._snapshots: dict[str, _Held] = {}
        self._stages: dict[str, _Held] = {}
        self._parts: dict[str, _Held] = {}
        """Of what was told of in parts, as far as it was."""

    def show(self, told: m.Show) -> None:
        """Show what is told, once all of it was."""
        known = self._snapshots if told.share is None else self._stages
        before = self._parts.pop(told.fleet, None) or known.get(told.fleet, _Held())
        now = before.told(told)
        if told.more:
            self._parts[told.fleet] = now
            return
        known[told.fleet] = now
        if told.share is None:
            self._cache.set(told.fleet, now.bodies, now.by_place)
        else:
            self._cache.stage(told.fleet, now.bodies, told.share, now.by_place)

    def end_stage(self, fleet: str) -> None:
        """All see the snapshot again."""
        self._stages.pop(fleet, None)
        self._cache.end_stage(fleet)


class Worker:
    """One worker, from its setup to its end."""

    def __init__(self) -> None:
        self._cache = SnapshotCache()
        self._shown = Shown(self._cache)
        self._registry = CollectorRegistry()
        self._dropped = own_metrics(self._registry)
        self._channel = Channel(self._take, self._answer)
        self._clock = Clock()
        self._fleet_of = fleet_of(())
        self._server: XdsServer | None = None
        self._stopped = asyncio.Event()

    async def run(self, end: socket.socket) -> None:
        """Until it is told to stop, or the serving process is gone."""
        await self._channel.open(end)
        reading = asyncio.create_task(self._channel.run())
        stopping = asyncio.create_task(self._stopped.wait())
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            # Whoever decided is gone, or speaks another language: make room for the next.
            failed = None if reading.cancelled() else reading.exception()
            if failed is not None:
                logger.error("a worker ends", why=str(failed))
            os._exit(1)
        reading.cancel()

    def on_access_logs(self, proxy: Proxy, message: bytes) -> None:
        """`AccessLogSink`: hand it on."""
        try:
            access_log_pb2.StreamAccessLogsMessage.FromString(message)
        except DecodeError as error:
            raise TelemetryError(f"not a StreamAccessLogsMessage: {error}") from error
        self._hand_on(m.AccessLogs(proxy, message))

    def on_load_report(self, proxy: Proxy, message: bytes, *, first: bool) -> None:
        """`LoadReportSink`: hand it on."""
        try:
            load_stats_pb2.LoadStatsRequest.FromString(message)
        except DecodeError as error:
            raise TelemetryError(f"not a LoadStatsRequest: {error}") from error
        self._hand_on(m.LoadReport(proxy, message, first))

    async def decide(self, request: bytes) -> bytes:
        """`RateLimiter`: ask. There is one count, and not one in each worker."""
        return await self._channel.ask(m.ShouldRateLimit(request), bytes, DECIDED_S)

    def _hand_on(self, report: m.AccessLogs | m.LoadReport) -> None:
        if not self._channel.post(report):
            self._dropped.inc()

    async def _take(self, message: m.Any) -> None:
        match message:
            case m.Show():
                self._shown.show(message)
            case m.EndStage():
                self._shown.end_stage(message.fleet)
            case m.Gateways():
                self._fleet_of = fleet_of(message.names)
                if self._server is not None:
                    self._server.regroup()
            case m.Setup():
                await self._set_up(message)
            case m.Listen():
                await self._listen()
            case m.Stop():
                if self._server is not None:
                    await self._server.stop(message.grace_s)
                self._stopped.set()
            case _:
                raise WeirError(f"a worker was told {type(message).__name__}")

    async def _set_up(self, told: m.Setup) -> None:
        configure_logging(told.log_level, told.log_format)
        try:
            self._server = told.door.server(
                self._cache,
                lambda cluster: self._fleet_of(cluster),
                access_logs=self,
                load_reports=self,
                rate_limits=self,
                registry=self._registry,
                shared=True,
                others=self._others,
            )
        except WeirError as error:
            await self._channel.send(m.Failed(str(error)))

    async def _listen(self) -> None:
        if self._server is None:
            return
        try:
            await self._server.start()
        except WeirError as error:
            await self._channel.send(m.Failed(str(error)))
            return
        await self._channel.send(m.Listening(self._server.port))

    async def _others(self, request: bytes, asks: Peer) -> list[Found]:
        return await self._channel.ask(m.Statuses(request, asks), list[Found], OTHERS_S)

    async def _answer(self, question: m.Question) -> object:
        server = self._server
        if server is None:
            raise WeirError("the worker is not set up yet")
        match question:
            case m.Clients():
                return server.clients(question.fleet)
            case m.Proxies():
                every = server.connections()
                mine = (c for c in every if question.node in (None, c.node.id))
                return proxies(mine, self._clock)
            case m.Resources():
                try:
                    connections = server.connections()
                    found = resources(connections, question.node, question.side, question.only)
                except TooLargeError as error:
                    raise WeirError(str(error)) from error
                return [found] if found is not None else []
            case m.Metrics():
                return self._families()
            case m.Ping():
                return None
            case m.Statuses():
                return await server.statuses(question.request, question.asks)
            case m.ShouldRateLimit():
                raise WeirError("a worker does not count")

    def _families(self) -> list[m.Family]:
        return [
            m.Family(
                family.name,
                family.documentation,
                family.type,
                [(one.name, dict(one.labels), one.value) for one in family.samples],
            )
            for family in self._registry.collect()
        ]


def own_metrics(registry: CollectorRegistry) -> Counter:
    """Of the process itself; what is returned counts the reports that were dropped."""
    ProcessCollector("weir_worker", registry=registry)
    return Counter(
        "weir_worker_dropped_reports",
        "Access logs and load reports that were dropped: the deciding process read too slowly.",
        registry=registry,
    )


def main() -> None:
    """The process."""
    _die_with_parent()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # as `weir serve`
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the serving process tells us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))

    async def work() -> None:
        await Worker().run(end)

    uvloop.run(work())


def _die_with_parent() -> None:
    """Also when we hang, and do not see that the pipe is closed. Linux alone knows how."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
