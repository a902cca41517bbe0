"""An OpenTelemetry collector (OTLP over gRPC) that tests run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.envoy.grpc_service import serving

Context = grpc.aio.ServicerContext[object, object]


@dataclass
class Collector:
    """Keeps all that it is sent."""

    port: int = 0
    logs: list[ExportLogsServiceRequest] = field(default_factory=list)
    traces: list[ExportTraceServiceRequest] = field(default_factory=list)

    def records(self) -> Iterator[LogRecord]:
        """Every entry of a log."""
        for request in self.logs:
            for resource in request.resource_logs:
                for scope in resource.scope_logs:
                    yield from scope.log_records

    def spans(self) -> Iterator[Span]:
        """Every span."""
        for request in self.traces:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    yield from scope.spans

    async def take_logs(
        self, request: ExportLogsServiceRequest, _: Context
    ) -> ExportLogsServiceResponse:
        """A batch of entries."""
        self.logs.append(request)
        return ExportLogsServiceResponse()

    async def take_traces(
        self, request: ExportTraceServiceRequest, _: Context
    ) -> ExportTraceServiceResponse:
        """A batch of spans."""
        self.traces.append(request)
        return ExportTraceServiceResponse()


def attributes(entries: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes by name; those that are text."""
    return {one.key: one.value.string_value for one in entries}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run one."""
    made = Collector()
    logs = grpc.unary_unary_rpc_method_handler(
        made.take_logs,
        ExportLogsServiceRequest.FromString,
        ExportLogsServiceResponse.SerializeToString,
    )
    traces = grpc.unary_unary_rpc_method_handler(
        made.take_traces,
        ExportTraceServiceRequest.FromString,
        ExportTraceServiceResponse.SerializeToString,
    )
    methods = {
        "opentelemetry.proto.collector.logs.v1.LogsService/Export": logs,
        "opentelemetry.proto.collector.trace.v1.TraceService/Export": traces,
    }
    async with serving(methods) as made.port:
        yield made
