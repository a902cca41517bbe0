"""A front in this process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry

from controlplane.errors import WeirError
from controlplane.front.door import Door
from controlplane.front.proxies import (
    Clock,
    Document,
    Side,
    TooLargeError,
    proxies,
    proxy,
    resources,
)
from controlplane.model import fleet_of
from controlplane.ports import AccessLogSink, LoadReportSink, RateLimiter
from controlplane.xds import SnapshotCache
from controlplane.xds.status import Client


class OwnFront:
    """One `XdsServer`; what Envoys report goes straight to the sinks."""

    def __init__(
        self,
        door: Door,
        cache: SnapshotCache,
        *,
        access_logs: AccessLogSink,
        load_reports: LoadReportSink,
        rate_limits: RateLimiter,
        registry: CollectorRegistry,
    ) -> None:
        self._fleet_of = fleet_of(())
        self._clock = Clock()
        self._server = door.server(
            cache,
            lambda cluster: self._fleet_of(cluster),
            access_logs=access_logs,
            load_reports=load_reports,
            rate_limits=rate_limits,
            registry=registry,
        )

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._server.port

    @property
    def ready(self) -> bool:
        """Whether it listens."""
        return self._server.port > 0

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """End the streams, and close."""
        await self._server.stop(grace_s)

    def know(self, gateways: Iterable[str]) -> None:
        """The Gateways that are declared."""
        self._fleet_of = fleet_of(gateways)
        self._server.regroup()

    async def clients(self, fleet: str) -> Sequence[Client]:
        """The streams of a fleet."""
        return self._server.clients(fleet)

    async def proxies(self) -> list[Document]:
        """Every connected Envoy."""
        return proxies(self._server.connections(), self._clock)

    async def proxy(self, node: str) -> Document | None:
        """One of them."""
        return proxy(self._server.connections(), node, self._clock)

    async def resources(self, node: str, side: Side, only: str | None) -> Document | None:
        """What one of them should run, or has ACKed."""
        try:
            return resources(self._server.connections(), node, side, only)
        except TooLargeError as error:
            raise WeirError(str(error)) from error

    async def refresh(self) -> None:
        """Nothing to do: its metrics are read when they are asked for."""
