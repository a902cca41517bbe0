"""The composition root: the only module that builds things, and the only TaskGroup."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import structlog
import uvloop
from prometheus_client import CollectorRegistry, generate_latest

from controlplane.api.app import create_app
from controlplane.api.server import AdminServer
from controlplane.console import AppConsole
from controlplane.decide import Decider, Policies
from controlplane.decide.registry import Maker
from controlplane.discovery import Discovery, SystemResolver
from controlplane.errors import ConfigurationError, StoreError
from controlplane.loop import Loop
from controlplane.model import LastGood, ServiceName
from controlplane.observe.in_process import InProcessSource
from controlplane.observe.sampling import sampling_percent
from controlplane.ports import MetricSource
from controlplane.publisher import Publisher
from controlplane.resources import Loaded, services, watch_folder
from controlplane.resources.folder import require_folder
from controlplane.settings import ServeSettings
from controlplane.store import KillSwitch, NameFile, Spool, SqlStateStore
from controlplane.telemetry.metrics import LoopMetrics
from controlplane.telemetry.traces import tracer_for
from controlplane.translate import OVERLAY, TranslateOptions, Translator, node_group
from controlplane.xds import Binding, Gate, Limits, SnapshotCache, Tls, XdsServer
from controlplane.xds.access_logs import AccessLogService
from controlplane.xds.exposition import StagedCollector, XdsCollector
from controlplane.xds.kinds import CLUSTER
from controlplane.xds.load_reports import LoadReportService
from controlplane.xds.staged import Plan, StagedSink
from controlplane.xds.status import Event, Reload, UnknownType
from controlplane.xds.telemetry import TelemetryMetrics

if TYPE_CHECKING:
    import grpc

logger = structlog.get_logger(__name__)

LOAD_DEADLINE_S = 2.0
"""How long a start waits for the last good state."""
SAMPLING_S = 5.0
"""How often the part of the traffic that is logged is looked at again."""
DRAIN_S = 5.0
"""How long Envoys' streams take to be closed at the end."""
RENEWED_S = 3600.0
"""With TLS, how old an Envoy's connection becomes."""
GONE_S = 9.0
"""After a signal the process is gone within 10 s, whatever hangs."""


def run(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `StartupError` when it cannot begin."""
    uvloop.run(App(settings).serve())


class App:
    """A running Weir: everything is built here, and joined by ports."""

    def __init__(
        self, settings: ServeSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        settings.xds.require_safe(settings.insecure or settings.tls_cert is not None, "xDS address")
        settings.admin.require_safe(settings.insecure, "admin address")
        require_folder(settings.config)
        self._settings = settings
        self._clock = clock
        self._registry = CollectorRegistry()
        self._metrics = LoopMetrics(self._registry)
        self._telemetry = InProcessSource(clock, report_interval_s=settings.load_report_interval_s)
        self._registry.register(self._telemetry.collector)
        self._cache = SnapshotCache()
        self._loaded = Loaded()
        self._fleet_of = node_group(self._loaded.declared)
        self._gate = _gate(settings)
        self._server = XdsServer(
            self._cache,
            address=str(settings.xds),
            node_group=lambda node: self._fleet_of(node.id, node.cluster),
            handlers=self._receivers(),
            observer=_log_event,
            insecure=settings.insecure,
            tls=_tls(settings),
            gate=self._gate,
            limits=_limits(settings),
        )
        self._registry.register(XdsCollector(self._server))
        self._names = NameFile(settings.state)
        self._discovery = Discovery(
            SystemResolver(),
            clock=clock,
            chance=random.Random(),  # noqa: S311
            known=self._names.load(),
        )
        self._policies = _policies(settings)
        self._store = SqlStateStore.in_folder(settings.state)
        self._spool = Spool(self._store)
        self._metrics.store_waiting.set_function(lambda: self._spool.waiting)
        self._metrics.store_dropped.set_function(lambda: self._spool.dropped)
        self._switch = KillSwitch(settings.state)
        self._staged = self._in_stages()
        sink = self._staged or self._cache
        self._publisher = Publisher(Translator(_options(settings)), sink, self._sampling)
        self._stop = asyncio.Event()
        self._at_end = contextlib.ExitStack()
        self._sample_again_s = clock()
        self._kept_names: dict[str, tuple[str, ...]] = {}

    def _in_stages(self) -> StagedSink | None:
        shares = self._settings.stages
        if not shares:
            return None
        try:
            plan = Plan(shares, bake_s=self._settings.push_bake_s)
        except ValueError as error:
            raise ConfigurationError(f"push {error}") from None
        staged = StagedSink(self._cache, self._server.clients, plan)
        self._registry.register(StagedCollector(staged))
        return staged

    async def serve(self) -> None:
        """Until a signal. A part that ends by itself is a fault, and ends the process."""
        tracer, provider = tracer_for(self._settings.otlp_endpoint)
        loop = Loop(
            source=self._source(),
            decider=Decider(self._policies),
            publisher=self._publisher,
            store=self._spool,
            switch=self._frozen,
            clock=self._clock,
            wall_clock=time.time,
            metrics=self._metrics,
            tracer=tracer,
            resumed=await self._last_good(),
        )
        console = AppConsole(loop, self._publisher, self._server, self._switch, self._clock)
        admin = self._admin(console)
        admin_port = admin.bind(*self._settings.admin)
        await self._server.start()
        logger.info(
            "serving",
            xds=f"{self._settings.xds.host}:{self._server.port}",
            admin=f"{self._settings.admin.host}:{admin_port}",
            config=str(self._settings.config),
            state=str(self._settings.state),
        )
        self._heed_signals()
        try:
            async with asyncio.TaskGroup() as group:
                running = [
                    group.create_task(self._follow_documents(console), name="documents"),
                    group.create_task(self._follow_endpoints(loop), name="endpoints"),
                    group.create_task(loop.run(), name="loop"),
                    group.create_task(self._spool.run(), name="spool"),
                ]
                if self._staged is not None:
                    running.append(group.create_task(self._staged.run(), name="staged pushes"))
                serving = group.create_task(admin.serve(), name="admin")
                await self._stop.wait()
                console.stopping = True
                logger.info("stopping: streams are closed, Envoys serve on with what they have")
                await self._server.stop(DRAIN_S)
                await self._spool.flush(1.0)
                for task in running:
                    task.cancel()
                admin.stop()
                await serving
        finally:
            await self._store.close()
            self._at_end.close()
            if provider is not None:
                provider.shutdown()

    async def _follow_documents(self, console: AppConsole) -> None:
        """What people declare, each time it changes."""
        async for loaded in watch_folder(self._settings.config, self._policies.names):
            for problem in set(loaded.problems) - set(self._loaded.problems):
                logger.warning("wrong in the documents", problem=str(problem))
            objects = len(loaded.declared.objects())
            logger.info("documents in force", objects=objects, problems=len(loaded.problems))
            self._loaded = loaded
            self._fleet_of = node_group(loaded.declared)
            console.documents = loaded.problems
            self._metrics.problems.set(len(loaded.problems))
            self._discovery.declare(loaded.declared)

    async def _follow_endpoints(self, loop: Loop) -> None:
        """Where it is, each time that changes; then the services are complete."""
        async for endpoints in self._discovery.watch():
            declared = self._loaded.declared
            balanced = services(declared, endpoints)
            self._telemetry.declare(balanced)
            await loop.declare(declared, balanced)
            self._keep_names()

    def _keep_names(self) -> None:
        """For the next start, which may come while no name server answers."""
        addresses = dict(self._discovery.addresses)
        if addresses == self._kept_names:
            return
        try:
            self._names.save(addresses)
            self._kept_names = addresses
        except StoreError as error:
            logger.warning("the addresses of names were not saved", why=str(error))

    async def _last_good(self) -> Mapping[ServiceName, LastGood]:
        """What was in force before, read before any Envoy is answered."""
        try:
            async with asyncio.timeout(LOAD_DEADLINE_S):
                return await self._store.load()
        except (StoreError, TimeoutError) as error:
            logger.warning("starting without the last good state", why=str(error) or "too slow")
            return {}

    def _source(self) -> MetricSource:
        if self._settings.source == "envoy":
            return self._telemetry
        # Its HTTP library is slow to load, and few need it.
        from controlplane.observe.prometheus import PrometheusSettings, PrometheusSource
        from controlplane.observe.promql import ENVOY, WEIR

        asked = PrometheusSettings(
            self._settings.prometheus_url, window_s=self._settings.prometheus_window_s
        )
        dialect = ENVOY if self._settings.prometheus_metrics == "envoy" else WEIR
        source = PrometheusSource(asked, self._clock, dialect)
        self._at_end.callback(source.close)
        return source

    def _receivers(self) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
        metrics = TelemetryMetrics(self._registry)
        reports = LoadReportService(
            self._telemetry.load_reports,
            metrics,
            interval_s=self._settings.load_report_interval_s,
            gate=self._gate,
            observer=_log_event,
        )
        logs = AccessLogService(
            self._telemetry.access_logs, metrics, gate=self._gate, observer=_log_event
        )
        return [logs.handler(), reports.handler()]

    def _admin(self, console: AppConsole) -> AdminServer:
        hosts = ["localhost", "127.0.0.1", "[::1]", self._settings.admin.host]
        if self._settings.insecure:
            hosts = ["*"]
        return AdminServer(create_app(console, self._exposition, hosts))

    def _exposition(self) -> bytes:
        return generate_latest(self._registry) + self._telemetry.latency_histograms()

    def _frozen(self) -> Callable[[ServiceName], str | None]:
        """What the kill switch holds, looked at once a tick."""
        switched = self._switch.look()
        self._metrics.frozen.set(switched.all is not None)
        return switched.why

    def _sampling(self, percent: float) -> float:
        """How much of the traffic is to be logged, from what the Envoys report."""
        now_s = self._clock()
        if now_s < self._sample_again_s:
            return percent
        self._sample_again_s = now_s + SAMPLING_S
        rates = [rate for rate in self._telemetry.rates_rps() if rate > 0]
        wanted = sampling_percent(sum(rates), len(rates), percent)
        self._telemetry.access_logs.sampled(wanted)
        return wanted

    def _heed_signals(self) -> None:
        running = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(signum, self._told_to_stop)

    def _told_to_stop(self) -> None:
        self._stop.set()
        # Whatever hangs at the end, it does not hang for long: Envoys do not need us to go on.
        asyncio.get_running_loop().call_later(GONE_S, os._exit, 0)


def _policies(settings: ServeSettings) -> Policies:
    makers: dict[str, Maker] = {p.name: p.load for p in entry_points(group="controlplane.policies")}
    if settings.model_dir is not None and "learned" in makers:
        load, folder = makers["learned"], settings.model_dir
        makers["learned"] = lambda: functools.partial(load(), folder=folder)
    return Policies(makers)


def _options(settings: ServeSettings) -> TranslateOptions:
    """Envoys whose own stats are scraped keep them per endpoint, and report nothing to us."""
    scraped = settings.source == "prometheus" and settings.prometheus_metrics == "envoy"
    return TranslateOptions(access_logs=not scraped, endpoint_stats=scraped)


def _tls(settings: ServeSettings) -> Tls | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def _gate(settings: ServeSettings) -> Gate:
    """Who may be which node, for everything that is served on the xDS address."""
    binding = Binding.parse(settings.xds_identity) if settings.xds_identity else None
    if settings.xds_jwt_key is None:
        return Gate(binding)
    # Slow to load, and few need it.
    from controlplane.xds.tokens import Tokens

    issuer, audience = settings.xds_jwt_issuer, settings.xds_jwt_audience
    return Gate(binding, Tokens(issuer, audience, settings.xds_jwt_key))


def _limits(settings: ServeSettings) -> Limits:
    """With TLS connections are renewed, so that who lost his certificate does not stay for ever."""
    age_s = settings.xds_connection_age_s
    if age_s is None and settings.tls_cert is not None:
        age_s = RENEWED_S
    return Limits(streams_per_identity=settings.xds_streams_per_identity, connection_age_s=age_s)


def _log_event(event: Event) -> None:
    if isinstance(event, Reload):
        if event.problem:
            words = "files are refused, the last good ones stay"
            logger.warning(words, files=event.what, problem=event.problem)
        else:
            logger.info("files are in force", files=event.what)
        return
    fields = {name: getattr(event, name) for name in event.__dataclass_fields__ if name != "node"}
    node = event.node.id if event.node is not None else ""
    if isinstance(event, UnknownType) and event.group == OVERLAY and event.type_url == CLUSTER:
        assert event.node is not None
        logger.warning(
            "an Envoy asks for clusters and is of no Gateway: it is given endpoints alone",
            node=node,
            node_cluster=event.node.cluster,
            wanted="node.cluster is the namespace/name of a declared Gateway",
        )
        return
    logger.warning(type(event).__name__.lower(), node=node, **fields)
