"""What a `TrafficPolicy` says of requests, for the routes that it is for.

What belongs to a RouteAction is in `retries`, what belongs to a cluster in `connections`.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute

from controlplane.resources.traffic_policy import RequestBuffer, TrafficPolicy
from controlplane.translate import concurrency, faults, overrides, rate_limits
from controlplane.translate.wire import number, packed, wire

BUFFER = "envoy.filters.http.buffer"


def of_route(policy: TrafficPolicy | None, route: str) -> bytes:
    """The part of a Route; `route` names the rule that it is for."""
    if policy is None:
        return b""
    spec, filters = policy.spec, dict[str, bytes]()
    if spec.request_buffer is not None:
        filters[BUFFER] = _buffer(spec.request_buffer)
    if spec.fault_injection is not None:
        filters[faults.FILTER] = faults.faults(spec.fault_injection)
    if spec.adaptive_concurrency is not None:
        filters[concurrency.FILTER] = concurrency.concurrency(spec.adaptive_concurrency)
    if spec.response_override:
        filters[overrides.FILTER] = overrides.overrides(spec.response_override)
    limits = b""
    if spec.rate_limit is not None:
        limits = rate_limits.of_route(policy.key, route, spec.rate_limit)
    return wire(Route, typed_per_filter_config=filters) + limits


def _buffer(one: RequestBuffer) -> bytes:
    held = wire(BufferPerRoute, buffer=wire(Buffer, max_request_bytes=number(one.limit)))
    return packed(BufferPerRoute, held)
