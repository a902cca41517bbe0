"""Datagrams that are passed on: the listener of a port of UDP, and the clusters behind it.

What comes from one address and port of a client is a session: it stays at its endpoint until
nothing was said for a while. Envoy knows no weights between clusters here. So the Backend of a
session is chosen by the client's port, which clients choose by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envoy_data_plane.envoy.config.listener.v3 import Listener, ListenerFilter, UdpListenerConfig
from envoy_data_plane.envoy.extensions.filters.udp.udp_proxy.v3 import (
    Route,
    UdpProxyConfig,
    UdpProxyConfigHashPolicy,
)
from envoy_data_plane.envoy.extensions.matching.common_inputs.network.v3 import SourcePortInput
from envoy_data_plane.envoy.extensions.matching.input_matchers.consistent_hashing.v3 import (
    ConsistentHashing,
)
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
)

from controlplane.resources.traffic_policy import OfConnections
from controlplane.translate.clusters import UNRESOLVED, USUAL
from controlplane.translate.ports import Passage, Port
from controlplane.translate.spread import Reached
from controlplane.translate.streams import Destination, Host
from controlplane.translate.types import extension
from controlplane.translate.wire import duration, packed, wire

MAX_SESSIONS = 8192
"""To a Backend at a time, unless a policy says how many: anybody can write any address into a
datagram, and each that is new is a socket."""


def over_udp(backend: str) -> str:
    """The cluster of a Backend for datagrams. It has limits of its own: a session takes a socket as
    a connection does."""
    return f"weir.dev/udp/{backend}"


def limited(spec: OfConnections) -> OfConnections:
    """What is said of connections, for sessions."""
    breaker = spec.circuit_breaker
    if breaker.max_connections is not None:
        return spec
    bounded = breaker.model_copy(update={"max_connections": MAX_SESSIONS})
    return spec.model_copy(update={"circuit_breaker": bounded})


USUALLY = limited(USUAL)
"""Where no policy says anything."""


def reached(found: Mapping[Host, Destination]) -> Reached:
    """What these need."""
    names = frozenset(name for to in found.values() for name, _ in to)
    return Reached(datagrams=names - {UNRESOLVED}, closing=UNRESOLVED in names)


def listener(port: Port, found: Mapping[Host, Destination]) -> bytes:
    """The part of a Listener; what no route is for is dropped."""
    (passage,) = port.passages
    to = found.get((passage.listener.name, "*"), ())
    proxies = [_proxy(port, passage, to)] if to else []
    return wire(
        Listener,
        name=port.name,
        udp_listener_config=wire(UdpListenerConfig),
        listener_filters=proxies,
    )


def _proxy(port: Port, passage: Passage, to: Destination) -> bytes:
    proxy = wire(
        UdpProxyConfig,
        stat_prefix=f"udp-{port.number}",
        idle_timeout=duration(passage.client.timeout.udp.idle_timeout),
        matcher=_by_weight(to),
        # For Backends whose endpoints are chosen by a hash; others do not look at it.
        hash_policies=[wire(UdpProxyConfigHashPolicy, source_ip=True)],
        access_log=passage.logs,
    )
    return wire(
        ListenerFilter,
        name="envoy.filters.udp_listener.udp_proxy",
        typed_config=packed(UdpProxyConfig, proxy),
    )


def _by_weight(to: Destination) -> bytes:
    """A Matcher that leads to these clusters. One hash of a session is held against the bounds of
    all, the highest first; what is below them all is the first cluster's."""
    total = sum(weight for _, weight in to)
    tried = list(_bounds(to))[::-1]
    first = wire(Matcher, on_no_match=_leads_to(to[0][0]))
    if not tried:
        return first
    matchers = [
        wire(
            MatcherMatcherListFieldMatcher,
            predicate=_at_least(bound, total),
            on_match=_leads_to(name),
        )
        for name, bound in tried
    ]
    return wire(Matcher, matcher_list=wire(MatcherMatcherList, matchers=matchers)) + first


def _bounds(to: Destination) -> Iterator[tuple[str, int]]:
    """All clusters but the first, and where their parts begin."""
    begin = to[0][1]
    for name, weight in to[1:]:
        yield name, begin
        begin += weight


def _at_least(bound: int, total: int) -> bytes:
    hashing = wire(ConsistentHashing, threshold=bound, modulo=total)
    single = wire(
        MatcherMatcherListPredicateSinglePredicate,
        input=extension("port", packed(SourcePortInput)),
        custom_match=extension(
            "envoy.matching.matchers.consistent_hashing", packed(ConsistentHashing, hashing)
        ),
    )
    return wire(MatcherMatcherListPredicate, single_predicate=single)


def _leads_to(name: str) -> bytes:
    cluster = name if name == UNRESOLVED else over_udp(name)
    return wire(
        MatcherOnMatch, action=extension("route", packed(Route, wire(Route, cluster=cluster)))
    )
