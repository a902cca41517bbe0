"""The connections of an Envoy to a Backend: how many, how long, and what they hold."""

from __future__ import annotations

import functools

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    CircuitBreakersThresholdsRetryBudget,
    Cluster,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    RoutingPriority,
    TcpKeepalive,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions as UpstreamOptions,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.v3 import Percent

from controlplane.resources.connections import CircuitBreaker
from controlplane.resources.traffic_policy import OfConnections
from controlplane.translate.admission import upstream_filters
from controlplane.translate.wire import duration, number, packed, wire

UNLIMITED = 2**32 - 1
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@functools.lru_cache(maxsize=1024)
def breakers(limits: CircuitBreaker) -> bytes:
    """The part of a Cluster that limits what is sent at a time, for each priority apart."""
    both = [_limited(one, limits) for one in (RoutingPriority.DEFAULT, RoutingPriority.HIGH)]
    each = []
    if limits.per_endpoint is not None:
        most = number(limits.per_endpoint.max_connections)
        each.append(wire(CircuitBreakersThresholds, max_connections=most))
    made = wire(CircuitBreakers, thresholds=both, per_host_thresholds=each)
    return wire(Cluster, circuit_breakers=made)


def _limited(priority: RoutingPriority, limits: CircuitBreaker) -> bytes:
    made = wire(
        CircuitBreakersThresholds,
        priority=priority,
        max_connections=number(limits.max_connections or UNLIMITED),
        max_pending_requests=number(limits.max_pending_requests or UNLIMITED),
        max_requests=number(limits.max_parallel_requests or UNLIMITED),
    )
    if limits.max_parallel_retries is not None:
        retries = number(limits.max_parallel_retries)
        return made + wire(CircuitBreakersThresholds, max_retries=retries)
    budget = wire(
        CircuitBreakersThresholdsRetryBudget,
        budget_percent=wire(Percent, value=float(limits.retry_budget.budget_percent)),
        min_retry_concurrency=number(limits.retry_budget.min_retry_concurrency),
    )
    return made + wire(CircuitBreakersThresholds, retry_budget=budget)


def connections(said: OfConnections, *, http_2: bool = False) -> bytes:
    """The part of a Cluster that says how it connects, and speaks."""
    made = wire(
        Cluster,
        connect_timeout=duration(said.timeout.tcp.connect_timeout),
        per_connection_buffer_limit_bytes=number(said.connection.buffer_limit),
    ) + protocol(said, http_2=http_2)
    if said.tcp_keepalive is None:
        return made
    keepalive = wire(TcpKeepalive)
    for name, value in (
        ("keepalive_probes", said.tcp_keepalive.probes),
        ("keepalive_time", said.tcp_keepalive.idle_time),
        ("keepalive_interval", said.tcp_keepalive.interval),
    ):
        if value is not None:
            keepalive += wire(TcpKeepalive, **{name: number(int(value))})
    options = wire(UpstreamConnectionOptions, tcp_keepalive=keepalive)
    return made + wire(Cluster, upstream_connection_options=options)


def protocol(said: OfConnections, *, http_2: bool) -> bytes:
    """The part of a Cluster that says which HTTP is spoken, and how."""
    kind = HttpProtocolOptionsExplicitHttpConfig
    if http_2:
        explicit = wire(kind, http2_protocol_options=wire(Http2ProtocolOptions))
    else:
        explicit = wire(kind, http_protocol_options=wire(Http1ProtocolOptions))
    made = wire(UpstreamOptions, explicit_http_config=explicit)
    common = b""
    times, most = said.timeout.http, said.circuit_breaker.max_requests_per_connection
    if times.connection_idle_timeout is not None:
        common += wire(HttpProtocolOptions, idle_timeout=duration(times.connection_idle_timeout))
    if times.max_connection_duration is not None:
        longest = duration(times.max_connection_duration)
        common += wire(HttpProtocolOptions, max_connection_duration=longest)
    if most is not None:
        common += wire(HttpProtocolOptions, max_requests_per_connection=number(most))
    if common:
        made += wire(UpstreamOptions, common_http_protocol_options=common)
    if said.admission_control is not None:
        filters = upstream_filters(said.admission_control)
        made += wire(UpstreamOptions, http_filters=filters)
    options = packed(UpstreamOptions, made)
    return wire(Cluster, typed_extension_protocol_options={_OPTIONS: options})
