"""What a `TrafficPolicy` says of requests, for the routes that it is for."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute

from controlplane.resources.traffic_policy import RequestBuffer, TrafficPolicy
from controlplane.translate.wire import number, packed, wire

BUFFER = "envoy.filters.http.buffer"


def of_route(policy: TrafficPolicy | None) -> bytes:
    """The part of a Route."""
    if policy is None or policy.spec.request_buffer is None:
        return b""
    return _buffer(policy.spec.request_buffer)


def _buffer(one: RequestBuffer) -> bytes:
    held = wire(BufferPerRoute, buffer=wire(Buffer, max_request_bytes=number(one.limit)))
    return wire(Route, typed_per_filter_config={BUFFER: packed(BufferPerRoute, held)})
