"""Logs, traces and counters of a listener.

Nothing here can be made to cost without bound by who sends requests: what is sampled is chosen by
chance or by the trace's id, never because a client asks (unless its word is to count), and
counters have only names that were declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import Route, VirtualCluster, VirtualHost
from envoy_data_plane.envoy.config.trace.v3 import OpenTelemetryConfig, TracingHttp
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.envoy.extensions.access_loggers.open_telemetry.v3 import (
    OpenTelemetryAccessLogConfig,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerTracing,
)
from envoy_data_plane.envoy.extensions.tracers.opentelemetry.samplers.v3 import (
    ParentBasedSamplerConfig,
    TraceIdRatioBasedSamplerConfig,
)
from envoy_data_plane.envoy.type.tracing.v3 import CustomTag, CustomTagHeader, CustomTagLiteral
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Struct, Value
from envoy_data_plane.opentelemetry.proto.common.v1 import AnyValue, KeyValue, KeyValueList

from controlplane.resources import telemetry
from controlplane.resources.filters import BackendObjectRef
from controlplane.translate.edge_functions import grpc_service
from controlplane.translate.matches import header_matchers, method_matcher
from controlplane.translate.shares import logged, percent
from controlplane.translate.types import extension
from controlplane.translate.wire import duration, number, packed, wire

Service = Callable[[BackendObjectRef], str | None]
"""The cluster of a reference; None where there is none yet."""

_SAMPLING_KEY = "weir.log_sampling"
"""No runtime has it: it only lets a share be given."""
_SAMPLERS = "envoy.tracers.opentelemetry.samplers"


def of_manager(said: telemetry.ListenerTelemetry, service: Service, name: str) -> bytes:
    """The part of a connection manager; `name` is that of the Gateway, which spans are of."""
    out = wire(HttpConnectionManager, access_log=logs(said, service))
    cluster = service(said.tracing.provider.backend_refs[0]) if said.tracing else None
    if said.tracing is not None and cluster is not None:
        out += wire(HttpConnectionManager, tracing=_tracing(said.tracing, cluster, name))
    return out


def logs(said: telemetry.ListenerTelemetry, service: Service) -> list[bytes]:
    """The logs of a listener's requests, or of its connections where it passes these on."""
    return list(_logs(said.access_log, service)) if said.access_log else []


def of_host(said: telemetry.ListenerTelemetry) -> bytes:
    """The part of a virtual host."""
    classes = [_class(one) for one in said.metrics.classes]
    return wire(VirtualHost, virtual_clusters=classes)


def of_route(said: telemetry.RouteTelemetry) -> bytes:
    """The part of a Route."""
    name = said.metrics.route_stat_name
    return wire(Route, stat_prefix=name) if name else b""


def json_format(values: Mapping[str, str]) -> bytes:
    """A JSON object with command operators in its values."""
    fields = {key: wire(Value, string_value=text) for key, text in values.items()}
    return wire(SubstitutionFormatString, json_format=wire(Struct, fields=fields))


def _class(one: telemetry.RequestClass) -> bytes:
    headers = header_matchers(one.headers)
    if one.method is not None:
        headers.append(method_matcher(one.method))
    return wire(VirtualCluster, name=one.name, headers=headers)


def _logs(logs: telemetry.AccessLogs, service: Service) -> Iterator[bytes]:
    for setting in logs.settings:
        for sink in setting.sinks:
            if sink.file is not None:
                log = _file(sink.file, setting.format)
            else:
                assert sink.open_telemetry is not None
                cluster = service(sink.open_telemetry.backend_refs[0])
                if cluster is None:
                    continue
                log = _otlp(sink.open_telemetry, setting.format, cluster)
            if setting.sampling_rate < 100:
                log += wire(AccessLog, filter=logged(_SAMPLING_KEY, setting.sampling_rate))
            yield log


def _file(sink: telemetry.FileSink, how: telemetry.LogFormat | None) -> bytes:
    config = wire(FileAccessLog, path=sink.path)
    if how is not None:
        text = wire(SubstitutionFormatString, text_format=f"{how.text}\n")
        form = json_format(how.json_) if how.json_ else text
        config += wire(FileAccessLog, log_format=form)
    return wire(
        AccessLog, name="envoy.access_loggers.file", typed_config=packed(FileAccessLog, config)
    )


def _otlp(sink: telemetry.OpenTelemetrySink, how: telemetry.LogFormat | None, to: str) -> bytes:
    kind = OpenTelemetryAccessLogConfig
    config = wire(
        kind,
        grpc_service=grpc_service(to, 5),
        log_name="weir",
        stat_prefix="weir",
        buffer_size_bytes=number(16 * 1024),
        buffer_flush_interval=duration(1),
        resource_attributes=_attributes(sink.resources),
    )
    if how is not None and how.json_:
        config += wire(kind, attributes=_attributes(how.json_))
    if how is not None and how.text:
        config += wire(kind, body=wire(AnyValue, string_value=how.text))
    return wire(
        AccessLog, name="envoy.access_loggers.open_telemetry", typed_config=packed(kind, config)
    )


def _attributes(values: Mapping[str, str]) -> bytes:
    rows = [
        wire(KeyValue, key=key, value=wire(AnyValue, string_value=text))
        for key, text in values.items()
    ]
    return wire(KeyValueList, values=rows)


def _tracing(said: telemetry.Tracing, cluster: str, name: str) -> bytes:
    ratio = wire(
        TraceIdRatioBasedSamplerConfig,
        sampling_percentage=percent(said.sampling_rate),
    )
    sampler = extension(
        f"{_SAMPLERS}.trace_id_ratio_based", packed(TraceIdRatioBasedSamplerConfig, ratio)
    )
    if said.follow_clients:
        parent = wire(ParentBasedSamplerConfig, wrapped_sampler=sampler)
        sampler = extension(f"{_SAMPLERS}.parent_based", packed(ParentBasedSamplerConfig, parent))
    config = wire(
        OpenTelemetryConfig,
        grpc_service=grpc_service(cluster, 5),
        service_name=said.provider.service_name or name,
        sampler=sampler,
    )
    provider = wire(
        TracingHttp,
        name="envoy.tracers.opentelemetry",
        typed_config=packed(OpenTelemetryConfig, config),
    )
    everything, nothing = wire(Percent, value=100.0), wire(Percent)
    return wire(
        HttpConnectionManagerTracing,
        provider=provider,
        client_sampling=nothing,  # x-client-trace-id would choose, beside the sampler
        random_sampling=everything,
        overall_sampling=everything,
        custom_tags=[_tag(tag, one) for tag, one in said.custom_tags.items()],
    )


def _tag(name: str, one: telemetry.CustomTag) -> bytes:
    if one.type == "Literal":
        return wire(CustomTag, tag=name, literal=wire(CustomTagLiteral, value=one.value))
    return wire(CustomTag, tag=name, request_header=wire(CustomTagHeader, name=one.value.lower()))
