"""`telemetry`: access logs, traces and counters. The words are those of Envoy Gateway's EnvoyProxy
(for a listener) and BackendTrafficPolicy (for requests)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.filters import BackendObjectRef
from controlplane.resources.kinds import Fields, Flag, Number, first_twice
from controlplane.resources.matches import HeaderMatch, Method

Percent = Annotated[Number, Field(ge=0, le=100)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
StatName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,63}$")]
MAX_CLASSES = 16


class LogFormat(Fields):
    """How an entry is written."""

    type: Literal["Text", "JSON"] = Field(description="Which of the two below is given.")
    text: Annotated[Text, Field(min_length=1)] | None = Field(
        default=None, description="With Envoy's command operators, such as `%RESPONSE_CODE%`."
    )
    json_: Annotated[dict[Key, Text], Field(min_length=1, max_length=64)] | None = Field(
        default=None, alias="json", description="Names, and values with such operators."
    )

    @model_validator(mode="after")
    def _one(self) -> LogFormat:
        if (self.text is not None, self.json_ is not None) != (
            self.type == "Text",
            self.type == "JSON",
        ):
            raise ValueError("type Text has text, type JSON has json, and no other")
        return self


class FileSink(Fields):
    """A file on the machine of the Envoy."""

    path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9_./-]{1,255}$")] = Field(
        description="`/dev/stdout` for what collects the output of containers."
    )


class OpenTelemetrySink(Fields):
    """An OpenTelemetry collector (OTLP over gRPC)."""

    backend_refs: tuple[BackendObjectRef, ...] = Field(
        min_length=1, max_length=1, description="The Backend; it is spoken to in HTTP/2."
    )
    resources: dict[Key, Text] = Field(
        default_factory=dict, max_length=32, description="Attributes of the resource."
    )


class LogSink(Fields):
    """Where entries go."""

    type: Literal["File", "OpenTelemetry"] = Field(description="Which of the two below is given.")
    file: FileSink | None = Field(default=None)
    open_telemetry: OpenTelemetrySink | None = Field(default=None)

    @model_validator(mode="after")
    def _one(self) -> LogSink:
        if (self.file is not None, self.open_telemetry is not None) != (
            self.type == "File",
            self.type == "OpenTelemetry",
        ):
            raise ValueError("type File has file, type OpenTelemetry has openTelemetry")
        return self


class LogSetting(Fields):
    """A log."""

    format: LogFormat | None = Field(default=None, description="Default: Envoy's own text.")
    sinks: tuple[LogSink, ...] = Field(min_length=1, max_length=4, description="All get it.")
    sampling_rate: Percent = Field(default=100.0, description="Percent of requests, by chance.")


class AccessLogs(Fields):
    """Logs beside that which Weir gets for balancing."""

    settings: tuple[LogSetting, ...] = Field(min_length=1, max_length=4, description="Logs.")


class TracingProvider(Fields):
    """An OpenTelemetry collector (OTLP over gRPC)."""

    type: Literal["OpenTelemetry"] = Field(
        default="OpenTelemetry", description="Spans by OTLP, over gRPC."
    )
    backend_refs: tuple[BackendObjectRef, ...] = Field(
        min_length=1, max_length=1, description="The Backend; it is spoken to in HTTP/2."
    )
    service_name: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = Field(
        default=None, description="Who the spans are of; not given: the Gateway."
    )


class CustomTag(Fields):
    """An attribute of each span."""

    type: Literal["Literal", "RequestHeader"] = Field(description="What `value` is.")
    value: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(
        description="The text, or the name of the header; a request without it has no attribute."
    )


class Tracing(Fields):
    """Traces (W3C `traceparent`): those of clients go on, with spans of Envoy's in them."""

    sampling_rate: Percent = Field(
        default=1.0,
        description="Percent of traces, chosen by their id: gateways that share the rate choose "
        "the same ones. A trace that begins here gets a random id.",
    )
    follow_clients: Flag = Field(
        default=False,
        description="Whether the client's word counts (the sampled flag of `traceparent`). It "
        "costs you what clients like, so only where clients are your own.",
    )
    provider: TracingProvider = Field(description="Where spans go.")
    custom_tags: dict[Key, CustomTag] = Field(
        default_factory=dict, max_length=32, description="Attributes of each span, by name."
    )


class RequestClass(Fields):
    """Requests that are counted together."""

    name: StatName = Field(description="Part of the counters' names.")
    headers: tuple[HeaderMatch, ...] = Field(default=(), max_length=8, description="All of these.")
    method: Method | None = Field(default=None, description="Of this method; not given: of any.")

    @model_validator(mode="after")
    def _some(self) -> RequestClass:
        if not self.headers and self.method is None:
            raise ValueError("a class has headers, a method, or both")
        return self


def _once(classes: tuple[RequestClass, ...]) -> tuple[RequestClass, ...]:
    twice = first_twice([one.name for one in classes])
    if twice is not None:
        raise ValueError(f"class {twice!r} is there twice; give one of them another name")
    return classes


class ListenerMetrics(Fields):
    """Counters of each host, beside Envoy's own."""

    classes: Annotated[tuple[RequestClass, ...], AfterValidator(_once)] = Field(
        default=(),
        max_length=MAX_CLASSES,
        description="The first that fits counts a request: `vhost.HOST.vcluster.NAME.*`. What fits "
        "none is in `other`. As many series as are written here, whatever clients send.",
    )


class ListenerTelemetry(Fields):
    """What is told of the requests of a listener."""

    access_log: AccessLogs | None = Field(default=None, description="Not given: none for you.")
    tracing: Tracing | None = Field(default=None, description="Not given: no spans.")
    metrics: ListenerMetrics = ListenerMetrics()


class RouteMetrics(Fields):
    """Counters of a route."""

    route_stat_name: StatName | None = Field(
        default=None,
        description="Requests and their times are counted as `vhost.HOST.route.NAME.*`; rules of "
        "one name are counted together. Not given: not counted by route.",
    )


class RouteTelemetry(Fields):
    """What is told of the requests of a route."""

    metrics: RouteMetrics = RouteMetrics()
