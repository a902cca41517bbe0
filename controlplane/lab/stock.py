"""Stock Envoys: static bootstraps that differ from what Weir sends in the balancing alone.

Listener, route, retries, limits and outlier detection are those that `controlplane.translate` gives
(Envoy's own outlier detection may eject 10 % of the endpoints: of eight, none). So a stock lane is
a little better than Envoy as it ships, and lanes differ in one thing: who picks the endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane.translate.retries import MAX_PICKS

CLUSTER = "default/demo"
"""The cluster's name in every lane: what Weir calls the Backend `demo` in `default`."""

ROUTE_TIMEOUT = "15s"
"""Of a route, in every lane."""

_TYPE = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True, slots=True)
class Balancing:
    """What a stock lane sets in its cluster."""

    name: str
    title: str
    cluster: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the cluster, over those that all lanes have."""
    weights: tuple[int, ...] = ()
    """Weights of the groups, where it has groups."""


LEAST_REQUEST = Balancing("least_request", "LEAST_REQUEST (P2C)", {"lb_policy": "LEAST_REQUEST"})
"""Power of two choices on the Envoy's own requests in flight."""


def _full_scan(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    least_request = {
        "@type": f"{_TYPE}.load_balancing_policies.least_request.v3.LeastRequest",
        "selection_method": "FULL_SCAN",
        **fields,
    }
    named = {
        "name": "envoy.load_balancing_policies.least_request",
        "typed_config": least_request,
    }
    return {"load_balancing_policy": {"policies": [{"typed_extension_config": named}]}}


FULL_SCAN = Balancing("full_scan", "FULL_SCAN", _full_scan())
"""The endpoint with the fewest of the Envoy's own requests in flight, of all."""

ROUND_ROBIN = Balancing("round_robin", "ROUND_ROBIN", {"lb_policy": "ROUND_ROBIN"})


def group_shares(name: str, shares: Sequence[float]) -> Balancing:
    """FULL_SCAN inside of groups whose shares are fixed: for benchmarks, as an oracle.

    Use it with `groups` of `static_bootstrap`.
    """
    return Balancing(
        name,
        "fixed group weights, FULL_SCAN",
        _full_scan(locality_lb_config={"locality_weighted_lb_config": {}}),
        tuple(max(1, round(10_000 * share)) for share in shares),
    )


def static_bootstrap(
    balancing: Balancing,
    backends: Sequence[int],
    *,
    listener_port: int,
    admin_port: int,
    groups: Sequence[int] | None = None,
) -> dict[str, Any]:
    """One Envoy of a stock lane. `groups` is the group of each backend, for `group_shares`."""
    membership = [0] * len(backends) if groups is None else list(groups)
    localities: list[dict[str, Any]] = []
    for group in sorted(set(membership)):
        ports = [port for port, of in zip(backends, membership, strict=True) if of == group]
        locality: dict[str, Any] = {"lb_endpoints": [_endpoint(port) for port in ports]}
        if balancing.weights:
            locality["locality"] = {"sub_zone": f"g{group}"}
            locality["load_balancing_weight"] = balancing.weights[group]
        localities.append(locality)
    cluster = {
        "name": CLUSTER,
        "type": "STATIC",
        **_AS_WEIR,
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": localities},
        **balancing.cluster,
    }
    return {
        "node": {"id": f"{balancing.name}-{listener_port}", "cluster": balancing.name},
        "admin": {"address": _address(admin_port)},
        "static_resources": {"listeners": [_listener(listener_port)], "clusters": [cluster]},
    }


def _limits(priority: str) -> dict[str, Any]:
    unlimited = 2**32 - 1
    return {
        "priority": priority,
        "max_connections": unlimited,
        "max_pending_requests": unlimited,
        "max_requests": unlimited,
        "retry_budget": {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 3},
    }


# What controlplane/translate gives a cluster; a test holds the two together.
_AS_WEIR: dict[str, Any] = {
    "connect_timeout": "1s",
    "per_connection_buffer_limit_bytes": 32 * 1024,
    "common_lb_config": {"update_merge_window": "0s"},
    "outlier_detection": {
        "consecutive_5xx": 5,
        "consecutive_gateway_failure": 5,
        "enforcing_consecutive_gateway_failure": 100,
        "interval": "2s",
        "base_ejection_time": "15s",
        "max_ejection_time": "150s",
        "max_ejection_percent": 50,
    },
    "circuit_breakers": {"thresholds": [_limits("DEFAULT"), _limits("HIGH")]},
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
        }
    },
}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _endpoint(port: int) -> dict[str, Any]:
    return {"endpoint": {"address": _address(port)}}


def _listener(port: int) -> dict[str, Any]:
    http = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": f"http-{port}",
            "route_config": _routes(),
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": f"{_TYPE}.filters.http.router.v3.Router",
                        "suppress_envoy_headers": True,
                    },
                }
            ],
            "use_remote_address": True,
            "normalize_path": True,
            "merge_slashes": True,
            "strip_trailing_host_dot": True,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
            "common_http_protocol_options": {
                "idle_timeout": "3600s",
                "headers_with_underscores_action": "REJECT_REQUEST",
            },
            "stream_idle_timeout": "300s",
            "request_headers_timeout": "60s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
        },
    }
    return {
        "name": "demo",
        "address": _address(port),
        "per_connection_buffer_limit_bytes": 32 * 1024,
        "filter_chains": [{"filters": [http]}],
    }


def _routes() -> dict[str, Any]:
    elsewhere = {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {"@type": f"{_TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
    }
    host = {
        "name": "*",
        "domains": ["*"],
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream",
            "num_retries": 1,
            "retry_host_predicate": [elsewhere],
            "host_selection_retry_max_attempts": MAX_PICKS,
        },
        "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": CLUSTER, "timeout": ROUTE_TIMEOUT}}
        ],
    }
    return {"name": "demo", "virtual_hosts": [host], "ignore_port_in_host_matching": True}
