"""Connections that are passed on as they are: TLS by the name that the client asks for (SNI), TCP.

Each host name of a listener has a filter chain of its own. What no route is for is closed: a
listener takes what fits it best, whether a route is there or not, and nothing falls through to
another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import (
    TcpProxy,
    TcpProxyWeightedCluster,
    TcpProxyWeightedClusterClusterWeight,
)

from controlplane.resources.topology import Stream, owner
from controlplane.translate import client_connections, downstream_tls
from controlplane.translate.clusters import UNRESOLVED
from controlplane.translate.ports import Passage, Port
from controlplane.translate.spread import Reached, Scene, target
from controlplane.translate.wire import duration, number, packed, wire

TRIES = 2
"""How often a connection is tried, each time at another endpoint if there is one."""

Host = tuple[str, str]
"""A listener and a host name of it; `*` is every one."""
Destination = tuple[tuple[str, int], ...]
"""Clusters with weights above 0; none: closed."""
NOWHERE: Mapping[Host, Destination] = MappingProxyType({})


def destinations(scene: Scene, streams: Iterable[Stream]) -> dict[Host, Destination]:
    """Where the connections of each host go. What leads nowhere goes where there is no endpoint."""
    found: dict[Host, Destination] = {}
    for listener, route, hosts in streams:
        if scene.policies.refuses(scene.gateway, listener):
            continue
        weights: dict[str, int] = {}
        for rule in route.spec.rules:
            for ref in rule.backend_refs:
                name = target(scene, route, ref) or UNRESOLVED
                weights[name] = weights.get(name, 0) + ref.weight
        here = tuple((name, weight) for name, weight in weights.items() if weight)
        found |= {(listener.name, host): here for host in hosts}
    return found


def reached(found: Mapping[Host, Destination]) -> Reached:
    """What these need."""
    names = frozenset(name for to in found.values() for name, _ in to)
    return Reached(names - {UNRESOLVED}, closing=UNRESOLVED in names)


def chains(port: Port, passage: Passage, found: Mapping[Host, Destination]) -> Iterator[bytes]:
    """The filter chains of a listener."""
    listener, client = passage.listener, passage.client
    own = {host for name, host in found if name == listener.name}
    for host in sorted(own | {listener.hostname or "*"}):
        if port.tls and owner(port.listeners, host) is not listener:
            continue  # Envoy refuses two chains for one name
        chain = wire(
            FilterChain,
            name=f"{listener.name}/{host}",
            filters=_filters(port, found.get((listener.name, host), ()), passage),
        )
        if port.tls:
            chain += wire(FilterChain, filter_chain_match=downstream_tls.match(host))
        if passage.certificates:
            chain += wire(
                FilterChain,
                transport_socket=downstream_tls.socket(passage, ()),
                transport_socket_connect_timeout=duration(client.timeout.tcp.handshake_timeout),
            )
        yield chain


def _filters(port: Port, to: Destination, passage: Passage) -> list[bytes]:
    """Envoy closes a connection that no filter takes."""
    if not to:
        return []
    client, stats = passage.client, f"{'tls' if port.tls else 'tcp'}-{port.number}"
    proxy = wire(
        TcpProxy,
        stat_prefix=stats,
        idle_timeout=duration(client.timeout.tcp.idle_timeout),
        max_connect_attempts=number(TRIES),
        access_log=passage.logs,
    )
    if len(to) == 1:
        proxy += wire(TcpProxy, cluster=to[0][0])
    else:
        kind = TcpProxyWeightedClusterClusterWeight
        weighted = [wire(kind, name=name, weight=weight) for name, weight in to]
        held = wire(TcpProxyWeightedCluster, clusters=weighted)
        proxy += wire(TcpProxy, weighted_clusters=held)
    return [
        *client_connections.limit(client.connection.connection_limit, stats),
        wire(
            Filter,
            name="envoy.filters.network.tcp_proxy",
            typed_config=packed(TcpProxy, proxy),
        ),
    ]
