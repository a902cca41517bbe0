"""Bootstraps for Envoys that take their configuration, or only their endpoints, from Weir.

The files in `envoy/` are what these functions give for their defaults; a test compares them.
"""

from __future__ import annotations

from typing import Any


def _h2_cluster(name: str, host: str, port: int) -> dict[str, Any]:
    """A cluster that speaks HTTP/2, with keepalives so that a hung server is noticed."""
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
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


def ads_bootstrap(
    *,
    node_id: str,
    fleet: str,
    xds_host: str = "127.0.0.1",
    xds_port: int = 18000,
    admin_port: int = 9901,
    delta: bool = False,
    load_reports: bool = True,
    zone: str = "",
) -> dict[str, Any]:
    """An Envoy that owns nothing: listeners, routes, clusters, endpoints and runtime come by ADS."""
    bootstrap: dict[str, Any] = {
        "node": {"id": node_id, "cluster": fleet, "locality": {"zone": zone}},
        "admin": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": _grpc("weir"),
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "layered_runtime": {
            "layers": [
                {
                    "name": "weir",
                    "rtds_layer": {
                        "name": "weir",
                        "rtds_config": {"ads": {}, "resource_api_version": "V3"},
                    },
                }
            ]
        },
        "static_resources": {"clusters": [_h2_cluster("weir", xds_host, xds_port)]},
    }
    if load_reports:
        bootstrap["cluster_manager"] = {
            "load_stats_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": _grpc("weir"),
            }
        }
    return bootstrap
