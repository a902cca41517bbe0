"""Bootstraps for Envoys that take their configuration, or only their endpoints, from Weir.

The files in `envoy/` are what these functions give for their defaults; a test compares them.
"""

from __future__ import annotations

from typing import Any

from controlplane.translate.client_tls import ClientTls

_TYPES = "type.googleapis.com/envoy.extensions"
MAX_CONNECTIONS = 50_000
"""Of clients, in a whole Envoy: what Envoy's own advice for an edge says."""
_ADS = {"ads": {}, "resource_api_version": "V3"}


def _h2_cluster(name: str, host: str, port: int, tls: ClientTls | None) -> dict[str, Any]:
    """A cluster that speaks HTTP/2, with keepalives so that a hung server is noticed."""
    secured = {} if tls is None else {"transport_socket": tls.transport_socket()}
    return {
        "name": name,
        **secured,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "connection_keepalive": {"interval": "30s", "timeout": "5s"}
                    }
                },
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {
                                "address": {"socket_address": {"address": host, "port_value": port}}
                            }
                        }
                    ]
                }
            ],
        },
    }


def _grpc(cluster: str) -> list[dict[str, Any]]:
    return [{"envoy_grpc": {"cluster_name": cluster}}]


def _ads(delta: bool) -> dict[str, Any]:
    """One stream for everything. Envoy would wait up to 30 s between two attempts to connect, as
    seen, and for so long after an outage some of a fleet would be without us."""
    (service,) = _grpc("weir")
    service["envoy_grpc"]["retry_policy"] = {
        "retry_back_off": {"base_interval": "0.5s", "max_interval": "5s"}
    }
    return {
        "api_type": "DELTA_GRPC" if delta else "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [service],
    }


def _overload(max_connections: int, max_heap_bytes: int | None) -> dict[str, Any]:
    """An Envoy that is overloaded refuses rather than dies."""
    monitors = [
        {
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": f"{_TYPES}.resource_monitors.downstream_connections.v3"
                ".DownstreamConnectionsConfig",
                "max_active_downstream_connections": max_connections,
            },
        }
    ]
    if max_heap_bytes is None:
        return {"resource_monitors": monitors}
    heap = "envoy.resource_monitors.fixed_heap"
    monitors.append(
        {
            "name": heap,
            "typed_config": {
                "@type": f"{_TYPES}.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                "max_heap_size_bytes": max_heap_bytes,
            },
        }
    )
    actions = (("shrink_heap", 0.95), ("stop_accepting_requests", 0.98))
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": monitors,
        "actions": [
            {
                "name": f"envoy.overload_actions.{action}",
                "triggers": [{"name": heap, "threshold": {"value": above}}],
            }
            for action, above in actions
        ],
    }


def ads_bootstrap(
    *,
    node_id: str,
    fleet: str,
    xds_host: str = "127.0.0.1",
    xds_port: int = 18000,
    admin_port: int = 9901,
    delta: bool = False,
    load_reports: bool = True,
    region: str = "",
    zone: str = "",
    workers: int | None = None,
    tls: ClientTls | None = None,
    max_connections: int = MAX_CONNECTIONS,
    max_heap_bytes: int | None = None,
    stats_port: int | None = None,
) -> dict[str, Any]:
    """An Envoy that owns nothing: listeners, routes, clusters, endpoints, runtime come by ADS.

    `fleet` is the `namespace/name` of its Gateway, `workers` its `--concurrency`: no report says
    how many workers share what an Envoy reports. With `tls` it connects by mutual TLS.

    Of `max_connections` clients, one more is closed at once. With `max_heap_bytes` (less than what
    the container may have) memory is given back at 95 % of it, and requests are answered 503 at
    98 %.

    With `stats_port` it shows others its numbers (`/stats/prometheus`) and whether it is ready
    (`/ready`) there, and nothing else of its admin interface.
    """
    bootstrap: dict[str, Any] = {
        "node": {"id": node_id, "cluster": fleet, "locality": {"region": region, "zone": zone}},
        "admin": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}},
            "ignore_global_conn_limit": True,
        },
        "overload_manager": _overload(max_connections, max_heap_bytes),
        "dynamic_resources": {
            "ads_config": _ads(delta),
            "cds_config": _ADS,
            "lds_config": _ADS,
        },
        "layered_runtime": {
            "layers": [
                {
                    "name": "weir",
                    "rtds_layer": {
                        "name": "weir",
                        "rtds_config": _ADS,
                    },
                }
            ]
        },
        "static_resources": {"clusters": [_h2_cluster("weir", xds_host, xds_port, tls)]},
    }
    if workers is not None:
        bootstrap["node"]["metadata"] = {"weir.dev/workers": workers}
    if load_reports:
        bootstrap["cluster_manager"] = _load_reports()
    if stats_port is not None:
        _show_stats(bootstrap["static_resources"], stats_port, admin_port)
    return bootstrap


def _stats_listener(port: int) -> dict[str, Any]:
    """The admin interface has no permissions of its own, so others see two of its pages alone."""
    pages = [{"path": path} for path in ("/stats/prometheus", "/ready")]
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stats",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "stats",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {
                                **page,
                                "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
                            },
                            "route": {"cluster": "envoy-admin"},
                        }
                        for page in pages
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "name": "stats",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},  # noqa: S104
        "ignore_global_conn_limit": True,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }


def _admin_cluster(port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": "envoy-admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "envoy-admin",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def overlay_bootstrap(
    *,
    node_id: str,
    service: str,
    listen_port: int,
    node_cluster: str = "overlay",
    region: str = "",
    zone: str = "",
    listen_host: str = "127.0.0.1",
    xds_host: str = "127.0.0.1",
    xds_port: int = 18000,
    admin_port: int = 9901,
    delta: bool = False,
    access_logs: bool = True,
    sampled_percent: int = 100,
    load_reports: bool = True,
    workers: int | None = None,
    tls: ClientTls | None = None,
    stats_port: int | None = None,
) -> dict[str, Any]:
    """An Envoy that keeps its own configuration and takes the endpoints of one cluster from Weir.

    `node_cluster` may be anything but empty (Envoy itself wants one for ADS).
    `service` is the `namespace/name` of a Backend, or its bare name where that is unique. The
    cluster is set up as Weir sets up its own: LEAST_REQUEST over all endpoints, weighted groups,
    outliers ejected. Access logs (sampled by a filter of its own) and load reports can be left out;
    Weir then has to read the numbers from Prometheus. `workers`, `tls` and `stats_port` are as of
    `ads_bootstrap`.
    """
    where = {"region": region, "zone": zone}
    bootstrap: dict[str, Any] = {
        "node": {"id": node_id, "cluster": node_cluster, "locality": where},
        "admin": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}
        },
        "dynamic_resources": {"ads_config": _ads(delta)},
        "static_resources": {
            "listeners": [
                _own_listener(service, listen_host, listen_port, access_logs, sampled_percent)
            ],
            "clusters": [
                _own_cluster(service, load_reports),
                _h2_cluster("weir", xds_host, xds_port, tls),
            ],
        },
    }
    if workers is not None:
        bootstrap["node"]["metadata"] = {"weir.dev/workers": workers}
    if load_reports:
        bootstrap["cluster_manager"] = _load_reports()
    if stats_port is not None:
        _show_stats(bootstrap["static_resources"], stats_port, admin_port)
    return bootstrap


def _show_stats(resources: dict[str, Any], port: int, admin_port: int) -> None:
    resources.setdefault("listeners", []).append(_stats_listener(port))
    resources["clusters"].append(_admin_cluster(admin_port))


def _load_reports() -> dict[str, Any]:
    return {
        "load_stats_config": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": _grpc("weir"),
        }
    }


def _own_cluster(service: str, load_reports: bool) -> dict[str, Any]:
    """The same as clusters.py makes; a test compares them."""
    unlimited = 2**32 - 1
    limits = [
        {
            "priority": priority,
            "max_connections": unlimited,
            "max_pending_requests": unlimited,
            "max_requests": unlimited,
            "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3},
        }
        for priority in ("DEFAULT", "HIGH")
    ]
    cluster: dict[str, Any] = {
        "name": service,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": _ADS, "service_name": service},
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": 32768,
        "load_balancing_policy": {
            "policies": [
                {
                    "typed_extension_config": {
                        "name": "envoy.load_balancing_policies.least_request",
                        "typed_config": {
                            "@type": f"{_TYPES}.load_balancing_policies.least_request.v3"
                            ".LeastRequest",
                            "selection_method": "FULL_SCAN",
                            "active_request_bias": {
                                "default_value": 1.0,
                                "runtime_key": "weir.active_request_bias",
                            },
                            "locality_lb_config": {"locality_weighted_lb_config": {}},
                        },
                    }
                }
            ]
        },
        "common_lb_config": {
            "update_merge_window": "0s",
            "override_host_status": {"statuses": ["UNKNOWN", "HEALTHY", "DRAINING", "DEGRADED"]},
        },
        "outlier_detection": {
            "consecutive_5xx": 5,
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 100,
            "interval": "2s",
            "base_ejection_time": "15s",
            "max_ejection_time": "150s",
            "max_ejection_percent": 50,
        },
        "circuit_breakers": {"thresholds": limits},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }
    if load_reports:
        cluster["lrs_report_endpoint_metrics"] = [
            "application_utilization",
            "cpu_utilization",
            "rps_fractional",
            "eps",
        ]
    return cluster


def _own_listener(
    service: str, host: str, port: int, access_logs: bool, sampled_percent: int
) -> dict[str, Any]:
    """One route for everything: whatever the Envoy had before goes here."""
    http: dict[str, Any] = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": service}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    if access_logs:
        http["access_log"] = [_own_access_log(sampled_percent)]
    return {
        "name": "http",
        "address": {"socket_address": {"address": host, "port_value": port}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": http,
                    }
                ]
            }
        ],
    }


def _own_access_log(sampled_percent: int) -> dict[str, Any]:
    return {
        "name": "envoy.access_loggers.http_grpc",
        "filter": {
            "runtime_filter": {
                "runtime_key": "weir.access_log_sampling",
                "percent_sampled": {"numerator": sampled_percent, "denominator": "HUNDRED"},
                "use_independent_randomness": True,
            }
        },
        "typed_config": {
            "@type": f"{_TYPES}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {
                "log_name": "weir",
                "grpc_service": {"envoy_grpc": {"cluster_name": "weir"}},
                "transport_api_version": "V3",
                "buffer_flush_interval": "0.2s",
                "buffer_size_bytes": 8192,
            },
        },
    }
