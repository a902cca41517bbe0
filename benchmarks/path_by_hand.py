"""Bootstraps of Envoys that somebody who knows Envoy well writes by hand, for `data_path`.

`minimal` is what Envoy's quick start has: one listener, one route, one cluster with LEAST_REQUEST,
the router. `careful` does what Weir's own careful configuration does, and nothing beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
TYPES = "type.googleapis.com/envoy.extensions"
ISSUER = "https://issuer.example"
BODY = "x" * 1024
"""Of each answer."""


def backend(ports: Sequence[int], admin_port: int) -> Json:
    """An Envoy that answers everything by itself, on each of these ports."""
    answer = {"status": 200, "body": {"inline_string": BODY}}
    routes = [{"match": {"prefix": "/"}, "direct_response": answer}]
    return {
        "admin": {"address": _address(admin_port)},
        "static_resources": {"listeners": [_listener(port, _manager(routes)) for port in ports]},
    }


def minimal(
    port: int, admin_port: int, backends: Sequence[int], tls: tuple[str, str] | None = None
) -> Json:
    """The least that does it; with TLS (certificate and key, PEM) also HTTP/2."""
    listener = _listener(port, _manager(_all_to_one({})), tls)
    return _bootstrap(admin_port, listener, _cluster(backends, {}))


def careful(
    port: int, admin_port: int, backends: Sequence[int], tls: tuple[str, str], jwks: str
) -> Json:
    """TLS, HTTP/2, tokens with a cache, a limit for each client, breakers, outliers, retries, and
    access logs of 3 % into a file; with the settings that Envoy advises an edge to have."""
    retries = {
        "retry_on": "gateway-error,reset,connect-failure,refused-stream",
        "num_retries": 2,
        "per_try_timeout": "2s",
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": _typed("retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }
    manager = _manager(_all_to_one({"retry_policy": retries, "timeout": "15s"}), _filters(jwks))
    manager["typed_config"] |= {
        "access_log": [_sampled_log()],
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "common_http_protocol_options": {
            "idle_timeout": "3600s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "stream_idle_timeout": "300s",
        "request_headers_timeout": "60s",
    }
    limits = {
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 1000,
                    "max_pending_requests": 1000,
                    "max_requests": 1000,
                    "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3},
                }
            ]
        },
        "outlier_detection": {"consecutive_5xx": 5, "max_ejection_percent": 50},
    }
    return _bootstrap(admin_port, _listener(port, manager, tls), _cluster(backends, limits))


def _filters(jwks: str) -> list[Json]:
    tokens = _typed("filters.http.jwt_authn.v3.JwtAuthentication") | {
        "providers": {
            "issuer": {
                "issuer": ISSUER,
                "audiences": ["shop"],
                "forward": True,
                "local_jwks": {"inline_string": jwks},
                "jwt_cache_config": {"jwt_cache_size": 1000},
                "claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"}],
            }
        },
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}}],
    }
    always = {"default_value": {"numerator": 100}}
    client = {"masked_remote_address": {"v4_prefix_mask_len": 32}}
    limits = _typed("filters.http.local_ratelimit.v3.LocalRateLimit") | {
        "stat_prefix": "limits",
        "token_bucket": _bucket(),
        "filter_enabled": always,
        "filter_enforced": always,
        "descriptors": [{"entries": [{"key": "masked_remote_address"}], "token_bucket": _bucket()}],
        "rate_limits": [{"actions": [client]}],
        "max_dynamic_descriptors": 10_000,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
    }
    return [
        {"name": "envoy.filters.http.jwt_authn", "typed_config": tokens},
        {"name": "envoy.filters.http.local_ratelimit", "typed_config": limits},
    ]


def _bucket() -> Json:
    """More than there ever is."""
    return {"max_tokens": 10**9, "tokens_per_fill": 10**9, "fill_interval": "1s"}


def _sampled_log() -> Json:
    share = {"numerator": 3, "denominator": "HUNDRED"}
    return {
        "name": "envoy.access_loggers.file",
        "filter": {
            "runtime_filter": {
                "runtime_key": "log",
                "percent_sampled": share,
                "use_independent_randomness": True,
            }
        },
        "typed_config": _typed("access_loggers.file.v3.FileAccessLog") | {"path": "/dev/null"},
    }


def _bootstrap(admin_port: int, listener: Json, cluster: Json) -> Json:
    return {
        "admin": {"address": _address(admin_port)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def _cluster(backends: Sequence[int], more: Mapping[str, Any]) -> Json:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in backends]
    return {
        "name": "web",
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": "web", "endpoints": [{"lb_endpoints": endpoints}]},
        **more,
    }


def _all_to_one(more: Mapping[str, Any]) -> list[Json]:
    return [{"match": {"prefix": "/"}, "route": {"cluster": "web", **more}}]


def _manager(routes: Sequence[Json], filters: Sequence[Json] = ()) -> Json:
    router = {"name": "router", "typed_config": _typed("filters.http.router.v3.Router")}
    config = _typed("filters.network.http_connection_manager.v3.HttpConnectionManager") | {
        "stat_prefix": "http",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list(routes)}]
        },
        "http_filters": [*filters, router],
    }
    return {"name": "http", "typed_config": config}


def _listener(port: int, manager: Json, tls: tuple[str, str] | None = None) -> Json:
    chain: Json = {"filters": [manager]}
    if tls is not None:
        certificate, key = ({"inline_string": one} for one in tls)
        context = {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{"certificate_chain": certificate, "private_key": key}],
        }
        config = _typed("transport_sockets.tls.v3.DownstreamTlsContext")
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": config | {"common_tls_context": context},
        }
    return {"name": f"http-{port}", "address": _address(port), "filter_chains": [chain]}


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _typed(kind: str) -> Json:
    return {"@type": f"{TYPES}.{kind}"}
