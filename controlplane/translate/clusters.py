"""Clusters: LEAST_REQUEST over all endpoints of a group, weighted groups, outliers ejected.

Why each is so:
- FULL_SCAN beats the choice of two; `locality_weighted_lb_config` makes group weights exact.
- `max_ejection_percent` 50: Envoy's default of 10 % ejects nobody of nine endpoints. The panic
  threshold stays at 50 %, so a fault of our own making never leaves a cluster without endpoints.
- Envoy's circuit breakers stop at 1,024 connections and requests unless told otherwise; a limit
  that nobody chose is not set here. Retries are held to a fifth of the requests in flight.
- `update_merge_window` 0: Envoy would hold a change of weights back for up to a second.
- Nothing volatile: a cluster that changes is warmed again.
"""

from __future__ import annotations

import functools

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    CircuitBreakersThresholdsRetryBudget,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    LoadBalancingPolicy,
    LoadBalancingPolicyPolicy,
    OutlierDetection,
    TrackClusterStats,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    RoutingPriority,
    RuntimeDouble,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.common.v3 import (
    LocalityLbConfig,
    LocalityLbConfigLocalityWeightedLbConfig,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 import (
    LeastRequest,
    LeastRequestSelectionMethod,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.v3 import Percent

from controlplane.resources.traffic_policy import CircuitBreaker, TrafficPolicy
from controlplane.translate.options import TranslateOptions
from controlplane.translate.types import FROM_ADS, extension
from controlplane.translate.wire import duration, number, packed, wire

UNRESOLVED = "weir.dev/unresolved"
"""The cluster without endpoints that answers 503 for references that lead nowhere. No object can
have this name: a namespace has no dot."""

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNLIMITED = 2**32 - 1
ORCA_METRICS = ("application_utilization", "cpu_utilization", "rps_fractional", "eps")
"""What backends say of themselves and load reports pass on, where they say it."""


def cluster(name: str, options: TranslateOptions, policy: TrafficPolicy | None = None) -> bytes:
    """The cluster of a Backend, whose endpoint assignment has the same name."""
    assignment = wire(ClusterEdsClusterConfig, eds_config=FROM_ADS, service_name=name)
    own = wire(Cluster, name=name, eds_cluster_config=assignment)
    limits = policy.spec.circuit_breaker if policy is not None else CircuitBreaker()
    return own + _shared(options) + _breakers(limits)


def over_http_2(backend: str) -> str:
    """The cluster of a Backend that is spoken to in HTTP/2 whatever its own cluster does."""
    return f"weir.dev/h2/{backend}"


def cluster_over_http_2(
    backend: str, options: TranslateOptions, policy: TrafficPolicy | None = None
) -> bytes:
    """This cluster; its endpoints are the Backend's. Of what a field says twice the last counts."""
    explicit = wire(
        HttpProtocolOptionsExplicitHttpConfig, http2_protocol_options=wire(Http2ProtocolOptions)
    )
    protocol = packed(HttpProtocolOptions, wire(HttpProtocolOptions, explicit_http_config=explicit))
    return cluster(backend, options, policy) + wire(
        Cluster,
        name=over_http_2(backend),
        typed_extension_protocol_options={_HTTP: protocol},
    )


def unresolved() -> bytes:
    """A cluster without endpoints, on purpose."""
    return wire(
        Cluster, name=UNRESOLVED, type=ClusterDiscoveryType.STATIC, connect_timeout=duration(1)
    )


@functools.lru_cache(maxsize=8)
def _shared(options: TranslateOptions) -> bytes:
    """All of a cluster but its name: messages one after another are one."""
    policy = wire(
        LoadBalancingPolicyPolicy,
        typed_extension_config=extension(
            "envoy.load_balancing_policies.least_request", packed(LeastRequest, _least_request())
        ),
    )
    common = wire(
        Cluster,
        type=ClusterDiscoveryType.EDS,
        connect_timeout=duration(1),
        per_connection_buffer_limit_bytes=number(32 * 1024),
        load_balancing_policy=wire(LoadBalancingPolicy, policies=[policy]),
        common_lb_config=wire(ClusterCommonLbConfig, update_merge_window=duration(0)),
        outlier_detection=_outliers(),
        typed_extension_protocol_options={
            _HTTP: packed(HttpProtocolOptions, _http_1()),
        },
    )
    if options.endpoint_stats:
        counted = wire(TrackClusterStats, per_endpoint_stats=True)
        return common + wire(Cluster, track_cluster_stats=counted)
    return common + wire(Cluster, lrs_report_endpoint_metrics=ORCA_METRICS)


def _least_request() -> bytes:
    weighted = wire(
        LocalityLbConfig,
        locality_weighted_lb_config=wire(LocalityLbConfigLocalityWeightedLbConfig),
    )
    bias = wire(RuntimeDouble, default_value=1.0, runtime_key="weir.active_request_bias")
    return wire(
        LeastRequest,
        selection_method=LeastRequestSelectionMethod.FULL_SCAN,
        active_request_bias=bias,
        locality_lb_config=weighted,
    )


def _outliers() -> bytes:
    return wire(
        OutlierDetection,
        consecutive_5xx=number(5),
        consecutive_gateway_failure=number(5),
        enforcing_consecutive_gateway_failure=number(100),
        interval=duration(2),
        base_ejection_time=duration(15),
        max_ejection_time=duration(150),
        max_ejection_percent=number(50),
    )


@functools.lru_cache(maxsize=1024)
def _breakers(limits: CircuitBreaker) -> bytes:
    both = [_limited(one, limits) for one in (RoutingPriority.DEFAULT, RoutingPriority.HIGH)]
    return wire(Cluster, circuit_breakers=wire(CircuitBreakers, thresholds=both))


def _limited(priority: RoutingPriority, limits: CircuitBreaker) -> bytes:
    budget = wire(
        CircuitBreakersThresholdsRetryBudget,
        budget_percent=wire(Percent, value=20.0),
        min_retry_concurrency=number(3),
    )
    return wire(
        CircuitBreakersThresholds,
        priority=priority,
        max_connections=number(limits.max_connections or UNLIMITED),
        max_pending_requests=number(limits.max_pending_requests or UNLIMITED),
        max_requests=number(limits.max_parallel_requests or UNLIMITED),
        retry_budget=budget,
    )


def _http_1() -> bytes:
    explicit = wire(
        HttpProtocolOptionsExplicitHttpConfig, http_protocol_options=wire(Http1ProtocolOptions)
    )
    return wire(HttpProtocolOptions, explicit_http_config=explicit)
