"""What a `TrafficPolicy` says of requests, for the routes that it is for."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute

from controlplane.resources.traffic_policy import RequestBuffer, TrafficPolicy, TrafficPolicySpec
from controlplane.translate import brought, compression, extensions, response_cache, telemetry, wasm
from controlplane.translate.extensions import Extensions
from controlplane.translate.wire import number, packed, wire

BUFFER = "envoy.filters.http.buffer"
BROUGHT = "weir.extensions"
"""What a route brings along: a service to ask, modules, the cache."""


def of_route(policy: TrafficPolicy | None, found: Extensions) -> bytes:
    """The part of a Route."""
    if policy is None:
        return b""
    spec = policy.spec
    out = compression.of_route(spec.compressor) + extensions.of_route(found)
    if spec.request_buffer is not None:
        out += _buffer(spec.request_buffer)
    if filters := _in_order(spec, found):
        out += wire(Route, typed_per_filter_config={BROUGHT: brought.in_order(filters)})
    return out + telemetry.of_route(spec.telemetry)


def _in_order(spec: TrafficPolicySpec, found: Extensions) -> list[bytes]:
    """Code of your own before the cache, so that it sees every request."""
    filters = [extensions.chained(one, found.service) for one in spec.ext_proc]
    filters += [wasm.chained(one) for one in spec.wasm]
    if spec.response_cache is not None:
        filters += response_cache.chained(spec.response_cache)
    return filters


def _buffer(one: RequestBuffer) -> bytes:
    held = wire(BufferPerRoute, buffer=wire(Buffer, max_request_bytes=number(one.limit)))
    return wire(Route, typed_per_filter_config={BUFFER: packed(BufferPerRoute, held)})
