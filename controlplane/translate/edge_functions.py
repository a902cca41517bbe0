"""Scripts and services on the way of a request, for the routes that want them.

All of it fails closed, for it may be what keeps strangers out: without its script a route answers
500, and Envoy does likewise when a service cannot be called. Envoy lets a request go on when a
script raises an error; so the functions of a script are wrapped, and such a request is answered
500, see `sandbox`.
"""

from __future__ import annotations

from typing import NamedTuple

from envoy_data_plane.envoy.config.core.v3 import DataSource, GrpcService, GrpcServiceEnvoyGrpc
from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import LuaPerRoute

from controlplane.resources.declared import Declared
from controlplane.resources.extensions import ExtProc, Processing
from controlplane.resources.policy_references import script_of
from controlplane.resources.topology import resolve_backend
from controlplane.resources.traffic_policy import TrafficPolicy
from controlplane.translate.clusters import UNRESOLVED, asked, over_http_2
from controlplane.translate.sandbox import sandboxed
from controlplane.translate.types import extension
from controlplane.translate.wire import duration, packed, wire

LUA = "envoy.filters.http.lua"

_FAILS = """\
function envoy_on_request(handle)
  handle:respond({[":status"] = "500"}, "the script of this route is missing\\n")
end
"""
_BODIES = {
    "Streamed": ProcessingModeBodySendMode.STREAMED,
    "Buffered": ProcessingModeBodySendMode.BUFFERED,
    "BufferedPartial": ProcessingModeBodySendMode.BUFFERED_PARTIAL,
}


class Extensions(NamedTuple):
    """What the references of a policy lead to."""

    script: str | None = None
    service: str | None = None
    """A cluster."""

    @classmethod
    def of(cls, declared: Declared, policy: TrafficPolicy) -> Extensions:
        """Looked up once for each `Declared`."""
        scripts = [script_of(declared, policy, one) for one in policy.spec.lua]
        services = [
            resolve_backend(declared, policy, ref)
            for one in policy.spec.ext_proc
            for ref in one.backend_refs
        ]
        return cls(
            next(
                (
                    sandboxed(one if isinstance(one, str) else _FAILS, policy.metadata.namespace)
                    for one in scripts
                ),
                None,
            ),
            next(
                (
                    asked(over_http_2(one)) if isinstance(one, str) else UNRESOLVED
                    for one in services
                ),
                None,
            ),
        )


def of_route(found: Extensions) -> bytes:
    """The part of a Route."""
    if found.script is None:
        return b""
    source = wire(LuaPerRoute, source_code=wire(DataSource, inline_string=found.script))
    return wire(Route, typed_per_filter_config={LUA: packed(LuaPerRoute, source)})


def chained(one: ExtProc, cluster: str | None) -> bytes:
    """The filter that asks a service."""
    config = wire(
        ExternalProcessor,
        grpc_service=grpc_service(cluster or UNRESOLVED),
        processing_mode=_mode(one),
        message_timeout=duration(one.message_timeout),
        failure_mode_allow=one.fail_open,
    )
    return extension("envoy.filters.http.ext_proc", packed(ExternalProcessor, config))


def grpc_service(cluster: str, timeout_s: float | None = None) -> bytes:
    """A gRPC service that a cluster leads to."""
    service = wire(GrpcService, envoy_grpc=wire(GrpcServiceEnvoyGrpc, cluster_name=cluster))
    return service + (wire(GrpcService, timeout=duration(timeout_s)) if timeout_s else b"")


def _mode(one: ExtProc) -> bytes:
    request, response = one.processing_mode.request, one.processing_mode.response
    skip = ProcessingModeHeaderSendMode.SKIP
    return wire(
        ProcessingMode,
        request_header_mode=_headers(request),
        response_header_mode=_headers(response),
        request_body_mode=_body(request),
        response_body_mode=_body(response),
        request_trailer_mode=skip,
        response_trailer_mode=skip,
    )


def _headers(one: Processing | None) -> ProcessingModeHeaderSendMode:
    return ProcessingModeHeaderSendMode.SEND if one else ProcessingModeHeaderSendMode.SKIP


def _body(one: Processing | None) -> ProcessingModeBodySendMode:
    return _BODIES[one.body] if one and one.body else ProcessingModeBodySendMode.NONE
