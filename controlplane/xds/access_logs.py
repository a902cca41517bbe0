"""The gRPC access log service (ALS): Envoy streams its log entries to the xDS address.

Transport only. Envoy names its node in the first message of a stream alone, so it is remembered
for each stream.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError

from controlplane._pb import access_log_pb2, base_pb2
from controlplane.errors import TelemetryError
from controlplane.model import Proxy
from controlplane.ports import AccessLogSink
from controlplane.xds.gate import Gate
from controlplane.xds.status import Observer
from controlplane.xds.telemetry import Context, Intake, TelemetryLimits, TelemetryMetrics


class AccessLogService:
    """Serves StreamAccessLogs."""

    def __init__(
        self,
        sink: AccessLogSink,
        metrics: TelemetryMetrics,
        limits: TelemetryLimits | None = None,
        gate: Gate | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._sink = sink
        self._intake = Intake(
            "access_logs", limits or TelemetryLimits(), metrics, gate or Gate(), observer
        )

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What a grpc.aio server serves; it may share its address with the other services."""
        method = grpc.stream_unary_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(
            "envoy.service.accesslog.v3.AccessLogService", {"StreamAccessLogs": method}
        )

    async def _stream(self, _: object, context: Context) -> bytes:
        await self._intake.read(context, _node_of, self._take)
        return b""  # StreamAccessLogsResponse has no fields

    def _take(self, proxy: Proxy, message: bytes, first: bool) -> None:
        self._sink.on_access_logs(proxy, message)


def _node_of(message: bytes) -> base_pb2.Node:
    try:
        parsed = access_log_pb2.StreamAccessLogsMessage.FromString(message)
    except DecodeError as error:
        raise TelemetryError(f"not a StreamAccessLogsMessage: {error}") from error
    return parsed.identifier.node
