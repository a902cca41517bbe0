"""Traces of a tick, when somebody collects them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace

from controlplane.telemetry.version import version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


def tracer_for(otlp_endpoint: str) -> tuple[trace.Tracer, TracerProvider | None]:
    """A tracer, and the provider to shut down at the end (None where nothing is collected).

    Without an endpoint the tracer is OpenTelemetry's own no-op and costs next to nothing. Spans
    leave in the background in bounded batches; a collector that is down costs no tick anything.
    """
    if not otlp_endpoint:
        return trace.NoOpTracer(), None
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(
        resource=Resource.create({"service.name": "weir", "service.version": version()})
    )
    exporter = OTLPSpanExporter(endpoint=otlp_endpoint, insecure=True, timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2048))
    return provider.get_tracer("weir"), provider
