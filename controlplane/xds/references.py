"""The clusters that routes, listeners and filters send to, read from their bytes.

Bytes that are not what their type says name nothing: they are the client's to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from google.protobuf.message import DecodeError

from controlplane._pb.route_pb2 import (
    HttpConnectionManager,
    Listener,
    RouteConfiguration,
    ScopedRouteConfiguration,
    TcpProxy,
    VirtualHost,
)
from controlplane.xds.fields import below

_NETWORK = "type.googleapis.com/envoy.extensions.filters.network."
_HTTP = _NETWORK + "http_connection_manager.v3.HttpConnectionManager"
_TCP = _NETWORK + "tcp_proxy.v3.TcpProxy"
_JWT = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_UDP = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
_MATCHER = (3, 2, 9)
"""Of a ListenerFilter: typed_config, its value, matcher."""
_LEADS = ((3, 2, 2, 2, 1), (1, 1, 2, 2, 2, 2, 1))
"""Of a Matcher: on_no_match, and on_match of the matchers of matcher_list; then action,
typed_config, its value, cluster."""
_CLUSTER_OF_KEYS = (1, 2, 3, 1, 2)
"""Of a JwtAuthentication: providers, the value of an entry, remote_jwks, http_uri, cluster."""
_KEPT = 4096
"""Resources whose references are remembered; one is read for every stream that it goes to."""


@lru_cache(_KEPT)
def clusters_of_routes(body: bytes) -> frozenset[str]:
    """Clusters that a RouteConfiguration names, mirrors among them.

    >>> sorted(clusters_of_routes(b"no message"))
    []
    """
    try:
        return frozenset(_of_routes(RouteConfiguration.FromString(body)))
    except DecodeError:
        return frozenset()


@lru_cache(_KEPT)
def clusters_of_virtual_host(body: bytes) -> frozenset[str]:
    """Clusters that the routes of a VirtualHost name."""
    try:
        host = VirtualHost.FromString(body)
    except DecodeError:
        return frozenset()
    return frozenset(_of_routes(RouteConfiguration(virtual_hosts=[host])))


@lru_cache(_KEPT)
def clusters_of_scope(body: bytes) -> frozenset[str]:
    """Clusters that the routes inside of a ScopedRouteConfiguration name."""
    try:
        return frozenset(_of_routes(ScopedRouteConfiguration.FromString(body).route_configuration))
    except DecodeError:
        return frozenset()


@lru_cache(_KEPT)
def clusters_of_listener(body: bytes) -> frozenset[str]:
    """Clusters that a Listener names itself: by inline routes, or as a proxy of TCP or UDP."""
    try:
        return frozenset((*_of_listener(Listener.FromString(body)), *_of_datagrams(body)))
    except (DecodeError, ValueError):
        return frozenset()


@lru_cache(_KEPT)
def clusters_of_extension(body: bytes) -> frozenset[str]:
    """Clusters from which the filter of a TypedExtensionConfig fetches keys of tokens."""
    try:
        if _JWT.encode() not in below(body, 2, 1):
            return frozenset()
        return frozenset(one.decode() for one in below(body, 2, 2, *_CLUSTER_OF_KEYS))
    except ValueError:
        return frozenset()


def _of_listener(listener: Listener) -> Iterator[str]:
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        for one in chain.filters:
            config = one.typed_config
            if config.type_url == _HTTP:
                yield from _of_routes(HttpConnectionManager.FromString(config.value).route_config)
            elif config.type_url == _TCP:
                proxy = TcpProxy.FromString(config.value)
                if proxy.cluster:
                    yield proxy.cluster
                yield from (each.name for each in proxy.weighted_clusters.clusters)


def _of_datagrams(listener: bytes) -> Iterator[str]:
    for one in below(listener, 9):  # listener_filters
        if _UDP.encode() in below(one, 3, 1):
            for matcher in below(one, *_MATCHER):
                for path in _LEADS:
                    yield from (name.decode() for name in below(matcher, *path))


def _of_routes(routes: RouteConfiguration) -> Iterator[str]:
    mirrors = list(routes.request_mirror_policies)
    for host in routes.virtual_hosts:
        mirrors += host.request_mirror_policies
        for route in host.routes:
            action = route.route
            mirrors += action.request_mirror_policies
            if action.cluster:
                yield action.cluster
            yield from (each.name for each in action.weighted_clusters.clusters)
    yield from (each.cluster for each in mirrors if each.cluster)
