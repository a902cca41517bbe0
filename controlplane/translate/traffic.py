"""What a `TrafficPolicy` says of requests, for the routes that it is for."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute

from controlplane.resources.traffic_policy import RequestBuffer, TrafficPolicy
from controlplane.translate import rate_limits
from controlplane.translate.wire import number, packed, wire

BUFFER = "envoy.filters.http.buffer"


def of_route(policy: TrafficPolicy | None, route: str) -> bytes:
    """The part of a Route; `route` names the rule that it is for."""
    if policy is None:
        return b""
    said, out = policy.spec, b""
    if said.request_buffer is not None:
        out += _buffer(said.request_buffer)
    if said.rate_limit is not None:
        out += rate_limits.of_route(policy.key, route, said.rate_limit)
    return out


def _buffer(one: RequestBuffer) -> bytes:
    held = wire(BufferPerRoute, buffer=wire(Buffer, max_request_bytes=number(one.limit)))
    return wire(Route, typed_per_filter_config={BUFFER: packed(BufferPerRoute, held)})
