"""The clusters that routes, listeners and filters send to, read from their bytes.

Bytes that are not what their type says name nothing: they are the client's to refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
_FILTERS = "type.googleapis.com/envoy.extensions.filters.http."
_FILTER_CONFIGS = (3, 13, 2)
"""Of a VirtualHost: routes, typed_per_filter_config, the value of an entry."""
_ACTION = (1, 3, 2, 2, 2)
"""Of a CompositePerRoute: matcher, on_no_match, action, typed_config, and the value of that, an
ExecuteFilterAction."""
_BROUGHT = {
    f"{_FILTERS}composite.v3.CompositePerRoute".encode(): ((*_ACTION, 1, 2), (*_ACTION, 4, 1, 2)),
    f"{_FILTERS}filter_chain.v3.FilterChainConfigPerRoute".encode(): ((1, 1, 2),),
}
"""The filters that a route brings along: typed_config and typed_config within it, or a chain of
such; and filter_chain, filters, typed_config."""
_GRPC = (1, 1, 1)
"""grpc_service, envoy_grpc, cluster_name."""
_ASKS = {
    f"{_FILTERS}ext_authz.v3.ExtAuthz".encode(): (_GRPC, (3, 1, 2)),
    f"{_FILTERS}ext_proc.v3.ExternalProcessor".encode(): (_GRPC,),
}
"""Where filters name the cluster that they ask; also http_service, server_uri, cluster."""
_KEPT = 4096
"""Resources whose references are remembered; one is read for every stream that it goes to."""


@lru_cache(_KEPT)
def clusters_of_routes(body: bytes) -> frozenset[str]:
    """Clusters that a RouteConfiguration names: those of mirrors, and of services that are asked
    about requests, among them.

    >>> sorted(clusters_of_routes(b"no message"))
    []
    """
    try:
        asked = _asked(below(body, 2)) if _asks(body) else ()
        return frozenset((*_of_routes(RouteConfiguration.FromString(body)), *asked))
    except (DecodeError, ValueError):
        return frozenset()


@lru_cache(_KEPT)
def clusters_of_virtual_host(body: bytes) -> frozenset[str]:
    """Clusters that the routes of a VirtualHost name."""
    try:
        host = RouteConfiguration(virtual_hosts=[VirtualHost.FromString(body)])
        asked = _asked([body]) if _asks(body) else ()
        return frozenset((*_of_routes(host), *asked))
    except (DecodeError, ValueError):
        return frozenset()


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


def _asked(hosts: Iterable[bytes]) -> Iterator[str]:
    """Clusters that filters ask which routes of these virtual hosts bring along."""
    for config in (one for host in hosts for one in below(host, *_FILTER_CONFIGS)):
        for path in (each for kind in below(config, 1) for each in _BROUGHT.get(kind, ())):
            for brought in below(config, 2, *path):
                names = (name for kind in below(brought, 1) for name in _ASKS.get(kind, ()))
                yield from (one.decode() for name in names for one in below(brought, 2, *name))


def _asks(body: bytes) -> bool:
    """Whether it can be that there are any: most route tables ask nobody."""
    return any(kind in body for kind in _ASKS)
