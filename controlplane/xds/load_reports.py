"""The load reporting service (LRS): Envoy sends counts for each endpoint at an interval of ours.

Transport only. The first request names the node and is answered with what we want; each further
request is a report of the deltas since the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc
from google.protobuf.message import DecodeError

from controlplane._pb import base_pb2, load_stats_pb2
from controlplane.errors import TelemetryError
from controlplane.model import Proxy
from controlplane.ports import LoadReportSink
from controlplane.xds.gate import Gate
from controlplane.xds.status import Observer
from controlplane.xds.telemetry import (
    Context,
    Intake,
    TelemetryLimits,
    TelemetryMetrics,
    proxy_of,
)

SEND_ALL = "envoy.lrs.supports_send_all_clusters"


class LoadReportService:
    """Serves StreamLoadStats."""

    def __init__(
        self,
        sink: LoadReportSink,
        metrics: TelemetryMetrics,
        *,
        interval_s: float = 1.0,
        clusters: Callable[[Proxy], Sequence[str]] = lambda proxy: (),
        limits: TelemetryLimits | None = None,
        gate: Gate | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`clusters` names what a client that cannot send all of them is asked for."""
        if interval_s <= 0:
            raise ValueError(f"a load report interval of {interval_s} s; wanted more than 0")
        self._sink = sink
        self._interval_s = interval_s
        self._clusters = clusters
        self._intake = Intake(
            "load_reports", limits or TelemetryLimits(), metrics, gate or Gate(), observer
        )

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What a grpc.aio server serves; it may share its address with the other services."""
        method = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(
            "envoy.service.load_stats.v3.LoadReportingService", {"StreamLoadStats": method}
        )

    async def _stream(self, _: object, context: Context) -> None:
        await self._intake.read(context, _node_of, self._take, self._greet)

    def _take(self, proxy: Proxy, message: bytes, first: bool) -> None:
        self._sink.on_load_report(proxy, message, first=first)

    def _greet(self, node: base_pb2.Node) -> bytes:
        wanted = load_stats_pb2.LoadStatsResponse(report_endpoint_granularity=True)
        wanted.load_reporting_interval.FromNanoseconds(round(self._interval_s * 1e9))
        if SEND_ALL in node.client_features:
            wanted.send_all_clusters = True
        else:
            wanted.clusters.extend(self._clusters(proxy_of(node)))
        return wanted.SerializeToString()


def _node_of(message: bytes) -> base_pb2.Node:
    try:
        return load_stats_pb2.LoadStatsRequest.FromString(message).node
    except DecodeError as error:
        raise TelemetryError(f"not a LoadStatsRequest: {error}") from error
