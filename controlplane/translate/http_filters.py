"""The HTTP filters of every listener, in the order in which a request meets them.

Those that routes switch on stand in every listener and cost next to nothing until one does: so a
policy that comes or goes changes route tables alone, and no connection is drained for it.

Who may come in is asked first. Answers are compressed last, so code of your own sees them plain,
and the cache keeps them plain, one for all clients. That code stands before the cache: it sees
every request, also one that the cache answers.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.http.stateful_session.v3 import StatefulSession
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from controlplane.resources.client_policy import ClientSettings
from controlplane.translate import (
    brought,
    compression,
    concurrency,
    cors,
    edge_functions,
    expressions,
    faults,
    geo_ip,
    grpc_web,
    overrides,
    payloads,
    rate_limits,
    second_choice,
    sessions,
    traffic,
)
from controlplane.translate.security import filters as access
from controlplane.translate.wire import FALSE, number, packed, wire


def http_filters(client: ClientSettings, table: str, control_cluster: str) -> list[bytes]:
    """All of them, for a listener with this route table; the router is the last.

    `control_cluster` leads to Weir.
    """
    router = wire(Router, suppress_envoy_headers=not client.headers.enable_envoy_headers)
    return [
        *_health(client),
        *geo_ip.filters(client.geo_ip),
        _switched_off(payloads.FILTER, payloads.unused()),
        _switched_off(expressions.FILTER, expressions.unused()),
        _switched_off(overrides.FILTER, brought.EMPTY),
        *access.before_cors(table),
        _switched_off(cors.FILTER, packed(Cors)),
        # Before access control, so that browsers understand what it refuses, too.
        _switched_off(grpc_web.FILTER, grpc_web.unused()),
        *access.after_cors(),
        _switched_off(second_choice.FILTER, second_choice.unused()),
        _switched_off(rate_limits.LOCAL, rate_limits.local_filter()),
        *(
            _switched_off(name, rate_limits.global_filter(control_cluster, closed=closed))
            for closed, name in rate_limits.GLOBAL.items()
        ),
        *(_switched_off(*one) for one in compression.filters()),
        _switched_off(edge_functions.LUA, packed(Lua)),
        _switched_off(traffic.BROUGHT, brought.EMPTY),
        _switched_off(traffic.BUFFER, packed(Buffer, wire(Buffer, max_request_bytes=number(1)))),
        _switched_off(concurrency.FILTER, brought.EMPTY),
        _switched_off(faults.FILTER, packed(HttpFault)),
        _switched_off(sessions.FILTER, packed(StatefulSession)),
        wire(HttpFilter, name="envoy.filters.http.router", typed_config=packed(Router, router)),
    ]


def _health(client: ClientSettings) -> list[bytes]:
    """Of whoever looks at the Envoy itself: before everything that could refuse it."""
    if client.health_check is None:
        return []
    path = wire(
        HeaderMatcher,
        name=":path",
        string_match=wire(StringMatcher, exact=client.health_check.path),
    )
    answer = wire(HealthCheck, pass_through_mode=FALSE, headers=[path])
    return [
        wire(
            HttpFilter,
            name="envoy.filters.http.health_check",
            typed_config=packed(HealthCheck, answer),
        )
    ]


def _switched_off(name: str, config: bytes) -> bytes:
    """A filter that is left out of a request's chain until a route switches it on."""
    return wire(HttpFilter, name=name, typed_config=config, disabled=True)
