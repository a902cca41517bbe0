"""Calls of gRPC from browsers (gRPC-Web): for every GRPCRoute, as in Envoy Gateway.

Such a call says what it is by its content type, and Envoy makes one of gRPC out of it, whichever
HTTP it came by. It has a route of its own that leads nowhere yet. When Envoy chooses again behind
authentication (see `second_choice`) the call is one of gRPC, and its route the same as for others.

Why it does not lead to the Backend at once: Envoy would count the calls of each method that a
client names, in counters that are never let go. It counts them for the cluster of the first route;
where that leads nowhere, it does not count. An answer of Envoy itself leads nowhere too, but there
Envoy knows no CORS.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import (
    FilterConfig,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.filters.http.grpc_web.v3 import GrpcWeb
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from controlplane.translate import second_choice
from controlplane.translate.wire import packed, wire

FILTER = "envoy.filters.http.grpc_web"
SUFFIX = "#grpc-web"
"""Of the name of the route."""
_TYPES = r"application/grpc-web(-text)?(\+proto)?"
"""Those that Envoy knows."""
_NO_HEADER = ":nowhere"
"""No request has such a header: names that begin with ':' are those of HTTP/2 itself."""
_ON = packed(FilterConfig, wire(FilterConfig, config=b""))
"""The filter knows no configuration of a route; an empty one switches it on."""


def unused() -> bytes:
    """The filter as it stands in listeners, switched off."""
    return packed(GrpcWeb)


def of_match() -> bytes:
    """The part of a RouteMatch that takes calls of browsers."""
    known = wire(StringMatcher, safe_regex=wire(RegexMatcher, regex=_TYPES))
    return wire(RouteMatch, headers=[wire(HeaderMatcher, name="content-type", string_match=known)])


def of_route() -> bytes:
    """The part of a Route that makes calls of gRPC out of them, and has Envoy choose again."""
    nowhere = wire(RouteAction, cluster_header=_NO_HEADER)
    on = wire(Route, typed_per_filter_config={FILTER: _ON}, route=nowhere)
    return on + second_choice.of_route()
