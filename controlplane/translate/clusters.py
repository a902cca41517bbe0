"""Clusters: LEAST_REQUEST over all endpoints of a group, weighted groups, outliers ejected.

Why each is so:
- FULL_SCAN beats the choice of two; `locality_weighted_lb_config` makes group weights exact.
- `max_ejection_percent` 50: Envoy's default of 10 % ejects nobody of nine endpoints. The panic
  threshold stays at 50 %, so a fault of our own making never leaves a cluster without endpoints.
- Envoy's circuit breakers stop at 1,024 connections and requests unless told otherwise; a limit
  that nobody chose is not set here. Retries are held to a fifth of the requests in flight.
- `update_merge_window` 0: Envoy would hold a change of weights back for up to a second.
- Nothing volatile: a cluster that changes is warmed again.

What a `TrafficPolicy` says otherwise is in `balancers`, `connections` and `health`.
"""

from __future__ import annotations

import functools

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    TrackClusterStats,
)

from controlplane.resources.traffic_policy import OfConnections
from controlplane.translate.balancers import balancer
from controlplane.translate.connections import breakers, connections
from controlplane.translate.health import health
from controlplane.translate.options import TranslateOptions
from controlplane.translate.types import FROM_ADS
from controlplane.translate.wire import duration, wire

UNRESOLVED = "weir.dev/unresolved"
"""The cluster without endpoints that answers 503 for references that lead nowhere. No object can
have this name: a namespace has no dot."""

ORCA_METRICS = ("application_utilization", "cpu_utilization", "rps_fractional", "eps")
"""What backends say of themselves and load reports pass on, where they say it."""

USUAL = OfConnections()
"""Where no policy says anything."""


def cluster(
    backend: str,
    options: TranslateOptions,
    said: OfConnections = USUAL,
    *,
    name: str = "",
    http_2: bool = False,
    of_udp: bool = False,
) -> bytes:
    """The cluster of a Backend, whose endpoint assignment has the same name.

    One for a part of its requests has another `name`. `http_2`: instead of HTTP/1.1. `of_udp`: for
    datagrams.
    """
    assignment = wire(ClusterEdsClusterConfig, eds_config=FROM_ADS, service_name=backend)
    own = wire(Cluster, name=name or backend, eds_cluster_config=assignment)
    if said is USUAL:
        return own + _usual(options, http_2)
    return own + _rest(options, said, backend.rpartition("/")[2], http_2, of_udp)


def over_http_2(backend: str) -> str:
    """The cluster of a Backend that is spoken to in HTTP/2 whatever its own cluster does."""
    return f"weir.dev/h2/{backend}"


def cluster_over_http_2(
    backend: str, options: TranslateOptions, said: OfConnections = USUAL
) -> bytes:
    """This cluster; its endpoints are the Backend's."""
    return cluster(backend, options, said, name=over_http_2(backend), http_2=True)


def asked(cluster: str) -> str:
    """The cluster by which filters ask what is behind another one, whether a request may pass for
    instance: an aggregate of that alone, which never changes. With a cluster that changes Envoy
    drops the questions of filters that are underway there, and the requests that they are about
    would be refused."""
    return f"weir.dev/asked/{cluster.removeprefix('weir.dev/')}"


def closed(name: str) -> bytes:
    """A cluster without endpoints, on purpose."""
    return wire(Cluster, name=name, type=ClusterDiscoveryType.STATIC, connect_timeout=duration(1))


@functools.lru_cache(maxsize=16)
def _usual(options: TranslateOptions, http_2: bool) -> bytes:
    """All of a cluster but its name, where no policy says anything."""
    return _rest(options, USUAL, "", http_2, False)


def _rest(
    options: TranslateOptions, said: OfConnections, host: str, http_2: bool, of_udp: bool
) -> bytes:
    return (
        _reporting(options)
        + balancer(said.load_balancer, of_udp=of_udp)
        + connections(said, http_2=http_2)
        + breakers(said.circuit_breaker)
        + health(said.health_check, host, http_2=http_2)
    )


def _reporting(options: TranslateOptions) -> bytes:
    """Endpoints over EDS, and what is told of them."""
    common = wire(Cluster, type=ClusterDiscoveryType.EDS)
    if options.endpoint_stats:
        counted = wire(TrackClusterStats, per_endpoint_stats=True)
        return common + wire(Cluster, track_cluster_stats=counted)
    return common + wire(Cluster, lrs_report_endpoint_metrics=ORCA_METRICS)
