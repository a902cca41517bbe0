"""How the xDS address is opened: who may come in, what is served there, within which limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from controlplane.front.journal import Journal
from controlplane.ports import AccessLogSink, LoadReportSink, RateLimiter
from controlplane.xds import Binding, Gate, Limits, SnapshotCache, Tls, XdsServer
from controlplane.xds.access_logs import AccessLogService
from controlplane.xds.csds import Others
from controlplane.xds.exposition import XdsCollector
from controlplane.xds.load_reports import LoadReportService
from controlplane.xds.rate_limits import RateLimitService
from controlplane.xds.telemetry import TelemetryMetrics

RENEWED_S = 3600.0
"""With TLS, how old an Envoy's connection becomes."""


@dataclass(frozen=True, slots=True)
class Door:
    """What a process must be told to open it. Plain values: it may be another process."""

    address: str
    insecure: bool = False
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    identity: tuple[str, ...] = ()
    """Templates of the names that entitle to be a node."""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_key: str = ""
    connection_age_s: float | None = None
    streams_per_identity: int = 10_000
    load_report_interval_s: float = 1.0

    def gate(self) -> Gate:
        """Who may be which node. Raises `WeirError`."""
        binding = Binding.parse(self.identity) if self.identity else None
        if not self.jwt_key:
            return Gate(binding)
        # Slow to load, and few need it.
        from controlplane.xds.tokens import Tokens

        return Gate(binding, Tokens(self.jwt_issuer, self.jwt_audience, Path(self.jwt_key)))

    def tls(self) -> Tls | None:
        """The files of TLS."""
        if not self.tls_cert:
            return None
        ca = Path(self.tls_client_ca) if self.tls_client_ca else None
        return Tls(Path(self.tls_cert), Path(self.tls_key), ca)

    def limits(self) -> Limits:
        """With TLS connections are renewed, so that who lost his certificate does not stay."""
        age_s = self.connection_age_s
        if age_s is None and self.tls_cert:
            age_s = RENEWED_S
        return Limits(streams_per_identity=self.streams_per_identity, connection_age_s=age_s)

    def server(
        self,
        cache: SnapshotCache,
        fleet_of: Callable[[str], str],
        *,
        access_logs: AccessLogSink,
        load_reports: LoadReportSink,
        rate_limits: RateLimiter,
        registry: CollectorRegistry,
        shared: bool = False,
        others: Others | None = None,
    ) -> XdsServer:
        """All that is served on the address, not started yet.

        `fleet_of` maps `node.cluster`. With `shared` other processes may listen on the same port,
        and `others` tell of the clients that they have.
        """
        gate = self.gate()
        metrics = TelemetryMetrics(registry)
        journal = Journal()
        reports = LoadReportService(
            load_reports,
            metrics,
            interval_s=self.load_report_interval_s,
            gate=gate,
            observer=journal,
        )
        limits = RateLimitService(rate_limits, metrics, gate=gate, observer=journal)
        logs = AccessLogService(access_logs, metrics, gate=gate, observer=journal)
        server = XdsServer(
            cache,
            address=self.address,
            node_group=lambda node: fleet_of(node.cluster),
            handlers=[logs.handler(), reports.handler(), limits.handler()],
            observer=journal,
            insecure=self.insecure,
            tls=self.tls(),
            gate=gate,
            limits=self.limits(),
            shared=shared,
            others=others,
        )
        registry.register(XdsCollector(server))
        return server
