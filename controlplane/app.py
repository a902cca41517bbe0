"""The composition root: the only module that builds things, and the only TaskGroup."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from controlplane.api.app import create_app, create_probes
from controlplane.api.server import HttpServer
from controlplane.console import AppConsole
from controlplane.decide import Decider, Policies
from controlplane.decide.registry import Maker
from controlplane.discovery import Discovery, SystemResolver
from controlplane.errors import ConfigurationError, StoreError
from controlplane.front.door import Door
from controlplane.front.own import OwnFront
from controlplane.front.port import Front
from controlplane.frozen import Frozen
from controlplane.limits.limiter import Limiter
from controlplane.limits.memory import MemoryCounters
from controlplane.limits.metrics import LimitMetrics
from controlplane.limits.rules import rules
from controlplane.loop import Loop
from controlplane.model import LastGood, ServiceName, fleet_of
from controlplane.observe.health import FleetHealth
from controlplane.observe.in_process import InProcessSource
from controlplane.observe.parts import ByPart, wholes
from controlplane.observe.sampling import Sampling
from controlplane.ports import AccessLogSink, HealthVerdict, LoadReportSink, MetricSource
from controlplane.publisher import Publisher
from controlplane.replicas.handing import Both
from controlplane.replicas.messages import Fleet
from controlplane.replicas.metrics import ReplicaMetrics
from controlplane.replicas.replicas import Replicas
from controlplane.resources import Loaded, Services
from controlplane.resources.folder import require_folder
from controlplane.resources.source import Folder
from controlplane.settings import ServeSettings
from controlplane.store import (
    DecisionLog,
    DeclaredFile,
    KillSwitch,
    NameFile,
    Segments,
    Spool,
    SqlStateStore,
    StateKeys,
    Switched,
)
from controlplane.telemetry.certificates import CertificateWatch
from controlplane.telemetry.metrics import LoopMetrics
from controlplane.telemetry.services import Balanced, ServiceCollector
from controlplane.telemetry.traces import tracer_for
from controlplane.translate import TranslateOptions, Translator
from controlplane.translate.patches import Patcher
from controlplane.xds import SnapshotCache
from controlplane.xds.exposition import StagedCollector
from controlplane.xds.kinds import ENDPOINT, RUNTIME
from controlplane.xds.staged import Plan, StagedSink

if TYPE_CHECKING:
    from controlplane.kubernetes.cluster import Cluster
    from controlplane.webhook import Webhook

logger = structlog.get_logger(__name__)

LOAD_DEADLINE_S = 2.0
"""How long a start waits for the last good state."""
SILENT_S = 5.0
"""An Envoy that reports loads and says nothing for this long is silent."""
DRAIN_S = 5.0
"""How long Envoys' streams take to be closed at the end."""
GONE_S = 9.0
"""After a signal the process is gone within 10 s, whatever hangs."""
LOG_FILES = 16
"""That the log of decisions is made of: the oldest goes as a whole."""


def run(settings: ServeSettings, patcher: Patcher | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises `StartupError` when it cannot begin."""
    uvloop.run(App(settings, patcher=patcher).serve())


class App:
    """A running Weir: everything is built here, and joined by ports."""

    def __init__(
        self,
        settings: ServeSettings,
        clock: Callable[[], float] = time.monotonic,
        patcher: Patcher | None = None,
    ) -> None:
        settings.xds.require_safe(settings.insecure or settings.tls_cert is not None, "xDS address")
        settings.admin.require_safe(settings.insecure, "admin address")
        if settings.config is not None:
            require_folder(settings.config)
        self._settings = settings
        self._clock = clock
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._metrics = LoopMetrics(self._registry)
        self._certificates = CertificateWatch(self._registry, time.time)
        self._telemetry = InProcessSource(clock, report_interval_s=settings.load_report_interval_s)
        self._registry.register(self._telemetry.collector)
        self._cache = SnapshotCache()
        self._loaded = Loaded()
        self._services = Services()
        self._cluster = self._joined()
        self._documents = self._cluster or Folder(settings.config or Path())
        self._fleet_of = fleet_of(())
        self._closing = contextlib.AsyncExitStack()
        self._limiter = self._rate_limiter()
        self._door = _door(settings)
        self._console: AppConsole | None = None
        self._switch = KillSwitch(settings.state)
        self._frozen = Frozen(
            self._switch,
            elsewhere=self._frozen_elsewhere,
            why_not=self._why_not,
            tell=self._switched,
        )
        self._sampling = Sampling(self._telemetry, clock)
        self._replicas = self._among_replicas()
        self._watched = self._watched_here()
        self._front = self._open()
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
        self._decisions = self._decision_log()
        self._staged = self._in_stages()
        sink = self._staged or self._cache
        self._publisher = Publisher(Translator(_options(settings, patcher)), sink, self._percent)
        self._stop = asyncio.Event()
        self._at_end = contextlib.ExitStack()
        self._kept_names: dict[str, tuple[str, ...]] = {}

    def _joined(self) -> Cluster | None:
        """The cluster whose API the documents come from, if it is one."""
        if not self._settings.kubernetes:
            return None
        try:
            # Few need it, and its library is large.
            from controlplane.kubernetes.cluster import Cluster, Place
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"--kubernetes wants its library ({error.name}): pip install 'weir[kubernetes]'"
            ) from None
        settings = self._settings
        place = Place(
            settings.kubeconfig,
            settings.kube_context,
            settings.namespace,
            settings.lease_namespace,
            settings.replica_reached,
        )
        keys = StateKeys.read(settings.state_key) if settings.state_key is not None else None
        kept = DeclaredFile(settings.state, keys)
        return Cluster(place, self._registry, self._clock, kept, settings.kubernetes_wait_s)

    def _open(self) -> Front:
        """Where Envoys are served."""
        door, settings = self._door, self._settings
        logs: AccessLogSink = self._telemetry.access_logs
        reports: LoadReportSink = self._telemetry.load_reports
        if self._replicas is not None:
            logs = reports = self._replicas.reports
        if self._watched is not self._telemetry:
            here = self._watched
            logs = reports = Both([here.access_logs, logs], [here.load_reports, reports])
        if settings.workers == 1:
            return OwnFront(
                door,
                self._cache,
                access_logs=logs,
                load_reports=reports,
                rate_limits=self._limiter,
                registry=self._registry,
            )
        # Few need it.
        from controlplane.front.pool import Pool

        return Pool(
            door,
            settings.workers,
            self._cache,
            access_logs=logs,
            load_reports=reports,
            rate_limits=self._limiter,
            registry=self._registry,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )

    def _among_replicas(self) -> Replicas | None:
        """This process among others that serve the same, if there may be some."""
        address = self._settings.replica
        if address is None or self._cluster is None:
            return None
        mutual = self._settings.tls_client_ca is not None
        return Replicas(
            str(address),
            self._cluster,
            access_logs=self._telemetry.access_logs,
            load_reports=self._telemetry.load_reports,
            percent=lambda: self._publisher.percent,
            told_percent=self._sampling.follow,
            switched=self._switch.look,
            inherit=self._frozen.inherit,
            fleets=self._fleets,
            versions=self._versions,
            shared=self._cluster,
            clock=self._clock,
            chance=random.Random(),  # noqa: S311
            metrics=ReplicaMetrics(self._registry),
            tls=self._door.tls() if mutual else None,
            name=self._settings.replica_identity,
        )

    def _watched_here(self) -> InProcessSource:
        """What the Envoys that are served here report, wherever else it goes: a push in stages is
        judged by it."""
        if self._replicas is None or not self._settings.stages:
            return self._telemetry
        return InProcessSource(self._clock, report_interval_s=self._settings.load_report_interval_s)

    def _decision_log(self) -> DecisionLog | None:
        """What is decided, to learn from, if that is wanted."""
        folder = self._settings.decision_log
        if folder is None:
            return None
        most = self._settings.decision_log_mb * 1_000_000
        segments = Segments(folder, most_bytes=most, files=LOG_FILES, wall_clock=time.time)
        log = DecisionLog(segments)
        self._closing.push_async_callback(log.close, 1.0)
        self._metrics.decisions_written.set_function(lambda: log.written)
        self._metrics.decisions_dropped.set_function(lambda: log.dropped)
        self._metrics.decisions_failures.set_function(lambda: log.failures)
        return log

    def _rate_limiter(self) -> Limiter:
        """Who counts for rate limits. Raises `ConfigurationError`."""
        metrics = LimitMetrics(self._registry)
        if self._settings.rate_limit_redis_url is None:
            memory = MemoryCounters(self._settings.rate_limit_counters)
            metrics.counters.set_function(lambda: len(memory))
            metrics.evicted.set_function(lambda: memory.evicted)
            return Limiter(memory, metrics)
        try:
            from controlplane.limits.redis import RedisCounters
        except ModuleNotFoundError:
            raise ConfigurationError(
                "rate limits in a Redis want its library: pip install 'weir[redis]'"
            ) from None
        counters = RedisCounters(self._settings.rate_limit_redis_url.get_secret_value())
        self._closing.push_async_callback(counters.close)
        return Limiter(counters, metrics)

    def _in_stages(self) -> StagedSink | None:
        shares = self._settings.stages
        if not shares:
            return None
        try:
            plan = Plan(shares, bake_s=self._settings.push_bake_s)
        except ValueError as error:
            raise ConfigurationError(f"push {error}") from None
        staged = StagedSink(self._cache, self._front.clients, plan, self._health())
        staged.taken_back = self._taken_back
        self._registry.register(StagedCollector(staged))
        return staged

    def _health(self) -> HealthVerdict | None:
        """Who watches a stage: the numbers that Envoys send. None where they send us none."""
        if self._settings.source != "envoy":
            return None
        return FleetHealth(
            self._watched.proxies,
            self._clock,
            lambda cluster: self._fleet_of(cluster),
            silent_s=max(SILENT_S, 3.0 * self._settings.load_report_interval_s),
        )

    async def serve(self) -> None:
        """Until a signal. A part that ends by itself is a fault, and ends the process."""
        if self._cluster is not None:
            among = self._replicas
            await self._cluster.open(among.informed if among is not None else None)
            self._closing.push_async_callback(self._cluster.close)
        tracer, provider = tracer_for(self._settings.otlp_endpoint)
        decider = Decider(self._policies, seed=secrets.randbits(64))
        loop = Loop(
            source=ByPart(self._source()),
            decider=decider,
            publisher=self._publisher,
            store=self._spool,
            switch=self._frozen.look,
            clock=self._clock,
            wall_clock=time.time,
            metrics=self._metrics,
            tracer=tracer,
            resumed=await self._last_good(),
            decides=self._decides,
            settled=self._replicas.changed if self._replicas is not None else lambda names: None,
            log=self._decisions,
        )
        self._registry.register(ServiceCollector(lambda: _balanced(loop)))
        console = AppConsole(
            loop,
            decider,
            self._publisher,
            self._front,
            self._switch,
            self._clock,
            staging=lambda fleet: self._cache.staged(fleet) is not None,
            versions=self._versions,
            settings=self._settings.shown(),
        )
        console.replicas, self._console = self._replicas, console
        admin = self._admin(console)
        admin_port = admin.bind(*self._settings.admin)
        pages = [admin]
        if self._settings.probe is not None:
            probes = HttpServer(create_probes(console, self._exposition), "probe")
            probes.bind(*self._settings.probe)
            pages.append(probes)
        webhook = self._webhook()
        if webhook is not None:
            pages.append(webhook.server)
        await self._listen(loop)
        logger.info(
            "serving",
            xds=f"{self._settings.xds.host}:{self._front.port}",
            admin=f"{self._settings.admin.host}:{admin_port}",
            documents=self._where,
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
                    group.create_task(self._certificates.run(), name="certificates"),
                ]
                if self._cluster is not None:
                    running += self._joining(group, self._cluster, console)
                    if webhook is not None:
                        keeping = webhook.keep(self._cluster)
                        running.append(group.create_task(keeping, name="webhook's certificate"))
                running += self._where_wanted(group)
                serving = [group.create_task(one.serve(), name=one.name) for one in pages]
                await self._stop.wait()
                console.stopping = True
                logger.info("stopping: streams are closed, Envoys serve on with what they have")
                await self._drain()
                await self._spool.flush(1.0)
                for task in running:
                    task.cancel()
                for one in pages:
                    one.stop()
                await asyncio.gather(*serving)
        finally:
            await self._closing.aclose()
            await self._store.close()
            self._at_end.close()
            if provider is not None:
                provider.shutdown()

    async def _listen(self, loop: Loop) -> None:
        if self._replicas is not None:
            await self._replicas.start(loop)
        await self._front.start()

    async def _drain(self) -> None:
        await self._front.stop(DRAIN_S)
        if self._replicas is not None:
            await self._replicas.stop()

    def _where_wanted(self, group: asyncio.TaskGroup) -> Iterator[asyncio.Task[None]]:
        if self._decisions is not None:
            yield group.create_task(self._decisions.run(), name="decision log")
        if self._staged is not None:
            yield group.create_task(self._staged.run(), name="staged pushes")

    def _joining(
        self, group: asyncio.TaskGroup, cluster: Cluster, console: AppConsole
    ) -> list[asyncio.Task[None]]:
        """What is written to the cluster, and agreed upon there."""
        report = cluster.report(console.translated, console.conditions, self._decides)
        running = [
            group.create_task(cluster.lead(), name="lease"),
            group.create_task(report, name="statuses"),
            group.create_task(cluster.record(), name="events"),
        ]
        if self._replicas is not None:
            running.append(group.create_task(self._replicas.run(), name="replicas"))
        return running

    def _webhook(self) -> Webhook | None:
        """Where API servers ask before they store. Raises `StartupError`."""
        if self._settings.webhook is None:
            return None
        from controlplane.webhook import Webhook  # with Kubernetes alone

        webhook = Webhook(
            self._settings,
            self._policies.names,
            registry=self._registry,
            certificates=self._certificates,
            wall_clock=time.time,
        )
        self._at_end.callback(webhook.close)
        webhook.server.bind(*self._settings.webhook)
        return webhook

    def _taken_back(self, fleet: str, why: str) -> None:
        if self._cluster is not None:
            self._cluster.taken_back(fleet, why)

    async def _follow_documents(self, console: AppConsole) -> None:
        """What people declare, each time it changes."""
        async for loaded in self._documents.watch(self._policies.names):
            for problem in set(loaded.problems) - set(self._loaded.problems):
                logger.warning("wrong in the documents", problem=str(problem))
            objects = len(loaded.declared.sources)
            logger.info("documents in force", objects=objects, problems=len(loaded.problems))
            if not objects:
                logger.warning("no documents: nothing is served to anybody new", where=self._where)
            self._loaded = loaded
            self._fleet_of = fleet_of(loaded.declared.fleets)
            self._front.know(loaded.declared.fleets)
            self._limiter.know(rules(loaded.declared))
            console.loaded = loaded
            self._metrics.problems.set(len(loaded.problems))
            self._certificates.declare(loaded.declared)
            self._discovery.declare(loaded.declared)

    async def _follow_endpoints(self, loop: Loop) -> None:
        """Where it is, each time that changes; then the services are complete."""
        async for endpoints in self._discovery.watch():
            declared = self._loaded.declared
            balanced = self._services.of(declared, endpoints)
            self._telemetry.declare(wholes(balanced))
            if self._watched is not self._telemetry:
                self._watched.declare(wholes(balanced))
            if self._replicas is not None:
                await self._replicas.settled()
            first = not self._publisher.published
            if first:
                gc.freeze()  # most of it stays: looks through all of it are long, and find nothing
            await loop.declare(declared, balanced)
            if first:
                gc.freeze()
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

    def _admin(self, console: AppConsole) -> HttpServer:
        hosts = ["localhost", "127.0.0.1", "[::1]", self._settings.admin.host]
        if self._settings.insecure:
            hosts = ["*"]
        return HttpServer(create_app(console, self._exposition, hosts))

    async def _exposition(self) -> bytes:
        await self._front.refresh()
        return generate_latest(self._registry) + self._telemetry.latency_histograms()

    def _switched(self, before: Switched, now: Switched) -> None:
        """Somebody froze, or resumed."""
        self._metrics.frozen.set(now.all is not None)
        if self._cluster is not None:
            self._cluster.switched(before, now, self._loaded.declared.gateways)

    def _frozen_elsewhere(self) -> Switched:
        return self._replicas.frozen if self._replicas is not None else Switched()

    def _why_not(self) -> str | None:
        """Why this replica does not decide; None where it does."""
        among = self._replicas or self._cluster
        return among.why_not if among is not None else None

    def _decides(self) -> bool:
        """Whether this replica does. One that follows nobody looks on, and holds every weight."""
        return self._replicas is None or self._replicas.decides

    def _percent(self, in_force: float) -> float:
        """How much of the traffic is to be logged."""
        return self._sampling.percent(in_force) if self._decides() else self._sampling.told

    def _versions(self, fleet: str) -> dict[str, str]:
        """What the Envoys of a fleet should run, but for what changes all the time."""
        found = self._cache.versions(fleet)
        return {url: one for url, one in found.items() if url not in (ENDPOINT, RUNTIME)}

    async def _fleets(self) -> Mapping[str, Fleet]:
        return await self._console.fleets() if self._console is not None else {}

    @property
    def _where(self) -> str:
        """Where the documents come from."""
        return str(self._settings.config) if self._cluster is None else "Kubernetes"

    def _heed_signals(self) -> None:
        running = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(signum, self._told_to_stop)

    def _told_to_stop(self) -> None:
        self._stop.set()
        # Whatever hangs at the end, it does not hang for long: Envoys do not need us to go on.
        asyncio.get_running_loop().call_later(GONE_S, os._exit, 0)


def _balanced(loop: Loop) -> Iterator[Balanced]:
    """The last decision about each service, for whoever scrapes."""
    for name in loop.names():
        known = loop.known(name)
        if known is not None and known.verdict is not None and known.decision is not None:
            grouping = known.decision.situation.grouping
            yield Balanced(known.verdict, known.decision.proposal, grouping)


def _policies(settings: ServeSettings) -> Policies:
    makers: dict[str, Maker] = {p.name: p.load for p in entry_points(group="controlplane.policies")}
    if settings.model_dir is not None and "learned" in makers:
        if not settings.model_dir.is_dir():
            logger.error(
                "there is no such folder: the policy `learned` is refused, fallbacks decide",
                model_dir=str(settings.model_dir),
                wanted="a folder with model.onnx and manifest.json",
            )
        load, folder = makers["learned"], settings.model_dir
        makers["learned"] = lambda: functools.partial(load(), folder=folder)
    return Policies(makers)


def _options(settings: ServeSettings, patcher: Patcher | None) -> TranslateOptions:
    """Envoys whose own stats are scraped keep them per endpoint, and report nothing to us."""
    scraped = settings.source == "prometheus" and settings.prometheus_metrics == "envoy"
    return TranslateOptions(access_logs=not scraped, endpoint_stats=scraped, patcher=patcher)


def _door(settings: ServeSettings) -> Door:
    def path(given: Path | None) -> str:
        return str(given.absolute()) if given is not None else ""

    return Door(
        address=str(settings.xds),
        insecure=settings.insecure,
        tls_cert=path(settings.tls_cert),
        tls_key=path(settings.tls_key),
        tls_client_ca=path(settings.tls_client_ca),
        identity=settings.xds_identity,
        jwt_issuer=settings.xds_jwt_issuer,
        jwt_audience=settings.xds_jwt_audience,
        jwt_key=path(settings.xds_jwt_key),
        connection_age_s=settings.xds_connection_age_s,
        streams_per_identity=settings.xds_streams_per_identity,
        load_report_interval_s=settings.load_report_interval_s,
    )
