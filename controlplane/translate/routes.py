"""Route tables: one for each port of a Gateway, in the order of precedence of the Gateway API.

Hosts first: a request belongs to the listener whose host name fits it best, and to no other; there
the route that names the most exact host goes first. Then an exact path, a pattern, the longest
prefix; then a method, the number of headers, the number of query parameters; then the older route,
the name of the route, and the order within it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import is_
from typing import NamedTuple

from envoy_data_plane.envoy.config.route.v3 import Route as EnvoyRoute
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, RouteMatch, VirtualHost

from controlplane.resources.gateway import Listener
from controlplane.resources.grpc_route import CallRoute
from controlplane.resources.matches import Match
from controlplane.resources.route import RequestRoute, Rule
from controlplane.resources.topology import covering, hostnames, owner
from controlplane.translate import client_edge, conditions, grpc_web, http3
from controlplane.translate.actions import misdirected, refused, shares
from controlplane.translate.classes import kinds
from controlplane.translate.clusters import UNRESOLVED
from controlplane.translate.extensions import extended
from controlplane.translate.matches import matchers
from controlplane.translate.policies import RulePolicies
from controlplane.translate.ports import Table
from controlplane.translate.retries import unless_said
from controlplane.translate.sessions import sessions
from controlplane.translate.spread import (
    Pair,
    Reached,
    Scene,
    Spread,
    has_places,
    is_fallback,
    reached,
    target,
)
from controlplane.translate.wire import wire

_Order = tuple[int | str, ...]
_Key = tuple[int, int, str]
"""A route, a Gateway, and a listener of it."""
_Targets = tuple[tuple[str | None, bool, bool], ...]
"""Of each reference of a route its cluster, see `actions.Resolve`, whether it is a fallback, and
whether its endpoints have priorities."""
_Said = tuple[RulePolicies, ...]
"""The policies of each rule of a route."""
_Rules = tuple[Rule, ...]
"""The rules of a route, with the filters that they refer to."""


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """One match of one rule of one route, and what it comes to."""

    order: _Order
    wire: bytes
    """The part of a VirtualHost: its routes."""


class _Kept(NamedTuple):
    """A route that is attached to a listener, and what it comes to."""

    route: RequestRoute
    targets: _Targets
    said: _Said
    rules: _Rules
    made: tuple[_Made, ...]
    hosts: tuple[str, ...]
    """For which the listener gives requests to the route."""
    reached: Reached


_Place = tuple[str, str, str]
"""A Gateway, a table of it, and a host in that."""


class _Host(NamedTuple):
    """A virtual host, and what it was made from."""

    said: bytes
    entries: Sequence[_Made]
    wire: bytes

    def is_of(self, said: bytes, entries: Sequence[_Made]) -> bool:
        """Whether it would come out the same."""
        return (
            self.said == said
            and len(self.entries) == len(entries)
            and all(map(is_, self.entries, entries))
        )


class RouteTables:
    """Makes route tables; what a rule comes to is kept as long as the rule is, and a virtual host
    as long as its routes are."""

    def __init__(self) -> None:
        self._kept: dict[_Key, _Kept] = {}
        self._used: set[_Key] = set()
        self._hosts_before: dict[_Place, _Host] = {}
        self._hosts_now: dict[_Place, _Host] = {}
        self._alike = False

    def begin(self, *, alike: bool) -> None:
        """Forget what the last pass did not use. `alike`: since then nothing changed that a route
        which is still the same could be translated otherwise for."""
        self._kept = {key: kept for key, kept in self._kept.items() if key in self._used}
        self._used = set()
        self._hosts_before, self._hosts_now = self._hosts_now, {}
        self._alike = alike

    def reached(self, scene: Scene, pairs: Sequence[Pair]) -> Reached:
        """What these routes reach."""
        return Reached.all(self._keep(scene, listener, route).reached for listener, route in pairs)

    def table(self, table: Table, scene: Scene, pairs: Sequence[Pair]) -> bytes:
        """One table: the hosts of its listeners, with the routes attached to them."""
        head = wire(RouteConfiguration, name=table.name, ignore_port_in_host_matching=True)
        out = [head, http3.told(table)]
        said = {
            one.name: client_edge.of_host(scene.policies.client_policy(scene.gateway, one))
            for one in table.listeners
        }
        for host, listener, entries in self._hosts(scene, table, pairs):
            place = (scene.gateway.key, table.name, host)
            out.append(self._host(place, said[listener.name], entries))
        out += [_misdirected(one.hostname or "*") for one in table.others]
        return b"".join(out)

    def _host(self, place: _Place, said: bytes, entries: Sequence[_Made]) -> bytes:
        """The part of a table that a virtual host is; `said`: what its listener says of it."""
        kept = self._hosts_before.get(place)
        if kept is None or not kept.is_of(said, entries):
            host = place[-1]
            head = wire(VirtualHost, name=host, domains=[host], retry_policy=unless_said())
            body = b"".join(entry.wire for entry in entries)
            made = wire(RouteConfiguration, virtual_hosts=[head + said + body])
            kept = _Host(said, entries, made)
        self._hosts_now[place] = kept
        return kept.wire

    def _hosts(
        self, scene: Scene, table: Table, pairs: Sequence[Pair]
    ) -> Iterator[tuple[str, Listener, list[_Made]]]:
        """Each host, whose it is, its entries in order: a listener's without routes has none."""
        listeners = table.listeners
        by_host: dict[str, dict[str, list[_Made]]] = {one.name: {} for one in listeners}
        hosts: set[str] = {listener.hostname or "*" for listener in listeners}
        for listener, route in pairs:
            kept = self._keep(scene, listener, route)
            hosts.update(kept.hosts)
            for host in route.hosts or ("*",):  # as the route has it: it counts how exact
                by_host[listener.name].setdefault(host, []).extend(kept.made)
        for host in sorted(hosts):
            mine = owner((*listeners, *table.others), host)
            if mine in table.others:
                continue
            found: dict[int, _Made] = {}
            for pattern in covering(host):  # the most exact first, each sorted on its own
                entries = by_host[mine.name].get(pattern, ())
                for entry in sorted(entries, key=lambda one: one.order):
                    found.setdefault(id(entry), entry)
            yield host, mine, list(found.values())

    def _keep(self, scene: Scene, listener: Listener, route: RequestRoute) -> _Kept:
        key = (id(route), id(scene.gateway), listener.name)
        kept = self._kept.get(key)
        sure = self._alike or key in self._used  # looked at in this pass already
        if kept is None or kept.route is not route or not sure:
            kept = self._kept[key] = _look_again(kept, scene, listener, route)
        self._used.add(key)
        return kept


def _look_again(kept: _Kept | None, scene: Scene, listener: Listener, route: RequestRoute) -> _Kept:
    targets = tuple(
        (target(*which), is_fallback(*which), has_places(*which))
        for which in ((scene, route, ref) for rule in route.spec.rules for ref in rule.references())
    )
    said = tuple(
        scene.policies.of_rule(scene.gateway, listener, route, rule) for rule in route.spec.rules
    )
    rules = extended(scene.declared, route)
    if kept is not None and kept.route is route and kept[1:4] == (targets, said, rules):
        return kept
    made = tuple(_make(scene, listener, route, rules, said))
    reach = reached(scene, route, said)
    return _Kept(route, targets, said, rules, made, hostnames(listener, route), reach)


def _make(
    scene: Scene, listener: Listener, route: RequestRoute, rules: _Rules, said: _Said
) -> Iterator[_Made]:
    for at, rule in enumerate(rules):
        spread = Spread.of(scene, route, rule)
        action = said[at].of_action(rule, fails_over=spread.fails_over)
        classes = [
            (
                one,
                refused()
                if said[at].refuses
                else shares(spread.rule, spread.resolve(one), listener, action + one.of_action),
            )
            for one in kinds(said[at].traffic)
        ]
        policies = said[at].of_route(route.name_of_rule(at)) + conditions.of_route(rule)
        preflights = any(
            one.cors
            for filters in (rule.filters, *(ref.filters for ref in rule.backend_refs))
            for one in filters
        )
        for which, match in enumerate(rule.matches):
            order = (*match.precedence, *route.age_order, at, which)
            name = route.name_of(at, which)
            session = _session(route, rule, at, match, said[at])
            proofs = said[at].proofs(match)
            web = isinstance(route, CallRoute)
            entries = list(_from_browsers(name, match, proofs, policies + session)) if web else []
            entries += [
                wire(EnvoyRoute, name=name + kind.suffix, match=matcher + kind.matcher + proof)
                + policies
                + kind.of_route
                + share.wire
                + session
                for kind, found in classes
                for share in found
                for matcher in matchers(
                    match,
                    apart=share.apart,
                    preflights=preflights,
                    below=share.below,
                    condition=share.condition,
                    policy=said[at].secured_by,
                )
                for proof in proofs
            ]
            yield _Made(order, wire(VirtualHost, routes=entries))


def _from_browsers(
    name: str, match: Match, proofs: Sequence[bytes], said: bytes
) -> Iterator[bytes]:
    """The routes of calls from browsers, which go before those of a match; `said`: the policies."""
    for matcher in matchers(match, apart=False, preflights=False, below=None):
        for proof in proofs:
            found = matcher + grpc_web.of_match() + proof
            route = wire(EnvoyRoute, name=name + grpc_web.SUFFIX, match=found)
            yield route + said + grpc_web.of_route()


def _misdirected(host: str) -> bytes:
    """A host that has its requests by other connections: the client is to open one (RFC 9110,
    15.5.20)."""
    name = f"misdirected/{host}"
    entry = wire(EnvoyRoute, name=name, match=wire(RouteMatch, prefix="/")) + misdirected()
    head = wire(VirtualHost, name=name, domains=[host], routes=[entry])
    return wire(RouteConfiguration, virtual_hosts=[head])


def _session(route: RequestRoute, rule: Rule, at: int, match: Match, said: RulePolicies) -> bytes:
    session = said.session_of(rule)
    if session is None:
        return b""
    default_name = f"weir-{route.metadata.namespace}-{route.metadata.name}-{at}"
    return sessions(session, default_name, match.path, strict=said.strict)


def needs_unresolved(scene: Scene, pairs: Sequence[Pair]) -> bool:
    """Whether a part of some rule waits for its endpoints while another part has some."""
    for _, route in pairs:
        for rule in route.spec.rules:
            clusters = {target(scene, route, ref) for ref in rule.backend_refs if ref.weight}
            if UNRESOLVED in clusters and len(clusters - {None}) > 1:
                return True
    return False
