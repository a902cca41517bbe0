"""What a `TrafficPolicy` says of requests, for the routes that it is for.

What belongs to a RouteAction is in `retries`, what belongs to a cluster in `connections`.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute

from controlplane.resources.traffic_policy import OfRequests, RequestBuffer, TrafficPolicy
from controlplane.translate import (
    brought,
    compression,
    concurrency,
    edge_functions,
    faults,
    overrides,
    rate_limits,
    response_cache,
    telemetry,
    wasm,
)
from controlplane.translate.edge_functions import Extensions
from controlplane.translate.wire import number, packed, wire

BUFFER = "envoy.filters.http.buffer"
BROUGHT = "weir.extensions"
"""What a route brings along: a service to ask, modules, the cache."""


def of_route(
    policy: TrafficPolicy | None, found: Extensions, route: str, *, identified: bool
) -> bytes:
    """The part of a Route; `route` names the rule that it is for. `identified`: clients say who
    they are."""
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
    if chained := _in_order(spec, found, route, identified=identified):
        filters[BROUGHT] = brought.in_order(chained)
    limits = b""
    if spec.rate_limit is not None:
        limits = rate_limits.of_route(policy.key, route, spec.rate_limit)
    out = compression.of_route(spec.compressor) + edge_functions.of_route(found)
    out += wire(Route, typed_per_filter_config=filters) + limits
    return out + telemetry.of_route(spec.telemetry)


def _in_order(spec: OfRequests, found: Extensions, route: str, *, identified: bool) -> list[bytes]:
    """Code of your own before the cache, so that it sees every request. What is answered to one
    client is kept for others only where that is said."""
    filters = [edge_functions.chained(one, found.service) for one in spec.ext_proc]
    filters += [wasm.chained(one) for one in spec.wasm]
    cache = spec.response_cache
    if cache is not None and (cache.for_authenticated or not identified):
        filters += response_cache.chained(cache, route)
    return filters


def _buffer(one: RequestBuffer) -> bytes:
    held = wire(BufferPerRoute, buffer=wire(Buffer, max_request_bytes=number(one.limit)))
    return packed(BufferPerRoute, held)
