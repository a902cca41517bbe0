"""Route tables: one for each port of a Gateway, in the order of precedence of the Gateway API.

Hosts first: a request belongs to the listener whose host name fits it best, and to no other; there
the route that names the most exact host goes first. Then an exact path, a pattern, the longest
prefix; then a method, the number of headers, the number of query parameters; then the older route,
the name of the route, and the order within it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from envoy_data_plane.envoy.config.route.v3 import Route, RouteConfiguration, VirtualHost

from controlplane.resources.gateway import Listener
from controlplane.resources.matches import Match, first_of_each
from controlplane.resources.route import HttpRoute, Rule
from controlplane.resources.topology import (
    covers,
    hostnames,
    references_of,
)
from controlplane.translate import client_edge, http3
from controlplane.translate.actions import refused, shares
from controlplane.translate.classes import kinds
from controlplane.translate.clusters import UNRESOLVED
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

_PATH_ORDER = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}


_Order = tuple[int | str, ...]
_Key = tuple[int, int, str]
"""A route, a Gateway, and a listener of it."""
_Targets = tuple[tuple[str | None, bool, bool], ...]
"""Of each reference of a route its cluster, see `actions.Resolve`, whether it is a fallback, and
whether its endpoints have priorities."""
_Said = tuple[RulePolicies, ...]
"""The policies of each rule of a route."""


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """One match of one rule of one route, and what it comes to."""

    order: _Order
    wire: bytes
    """The part of a VirtualHost: its routes."""


class _Kept(NamedTuple):
    """A route that is attached to a listener, and what it comes to."""

    route: HttpRoute
    targets: _Targets
    said: _Said
    made: tuple[_Made, ...]
    hosts: tuple[str, ...]
    """For which the listener gives requests to the route."""
    reached: Reached


class RouteTables:
    """Makes route tables; what a rule comes to is kept as long as the rule is."""

    def __init__(self) -> None:
        self._kept: dict[_Key, _Kept] = {}
        self._used: set[_Key] = set()
        self._alike = False

    def begin(self, *, alike: bool) -> None:
        """Forget what the last pass did not use. `alike`: since then nothing changed that a route
        which is still the same could be translated otherwise for."""
        self._kept = {key: kept for key, kept in self._kept.items() if key in self._used}
        self._used = set()
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
        for host, owner, entries in self._hosts(scene, table.listeners, pairs):
            head = wire(VirtualHost, name=host, domains=[host], retry_policy=unless_said())
            head += said[owner.name]
            body = b"".join(entry.wire for entry in entries)
            out.append(wire(RouteConfiguration, virtual_hosts=[head + body]))
        return b"".join(out)

    def _hosts(
        self, scene: Scene, listeners: Sequence[Listener], pairs: Sequence[Pair]
    ) -> Iterator[tuple[str, Listener, list[_Made]]]:
        """Each host, whose it is, its entries in order: a listener's without routes has none."""
        by_host: dict[str, dict[str, list[_Made]]] = {one.name: {} for one in listeners}
        hosts: set[str] = {listener.hostname or "*" for listener in listeners}
        for listener, route in pairs:
            kept = self._keep(scene, listener, route)
            hosts.update(kept.hosts)
            for host in route.spec.hostnames or ("*",):  # as the route has it: it counts how exact
                by_host[listener.name].setdefault(host, []).extend(kept.made)
        for host in sorted(hosts):
            owner = max(
                (one for one in listeners if covers(one.hostname or "*", host)),
                key=lambda one: _exactness(one.hostname or "*"),
            )
            found: dict[int, _Made] = {}
            for pattern in _covering(host):  # the most exact first, each sorted on its own
                entries = by_host[owner.name].get(pattern, ())
                for entry in sorted(entries, key=lambda one: one.order):
                    found.setdefault(id(entry), entry)
            yield host, owner, list(found.values())

    def _keep(self, scene: Scene, listener: Listener, route: HttpRoute) -> _Kept:
        key = (id(route), id(scene.gateway), listener.name)
        kept = self._kept.get(key)
        sure = self._alike or key in self._used  # looked at in this pass already
        if kept is None or kept.route is not route or not sure:
            kept = self._kept[key] = _look_again(kept, scene, listener, route)
        self._used.add(key)
        return kept


def _look_again(kept: _Kept | None, scene: Scene, listener: Listener, route: HttpRoute) -> _Kept:
    targets = tuple(
        (target(*which), is_fallback(*which), has_places(*which))
        for which in ((scene, route, ref) for ref in references_of(route))
    )
    said = tuple(
        scene.policies.of_rule(scene.gateway, listener, route, rule) for rule in route.spec.rules
    )
    if kept is not None and kept.route is route and kept[1:3] == (targets, said):
        return kept
    made = tuple(_make(scene, listener, route, said))
    reach = reached(scene, route, said)
    return _Kept(route, targets, said, made, hostnames(listener, route), reach)


def _make(scene: Scene, listener: Listener, route: HttpRoute, said: _Said) -> Iterator[_Made]:
    for at, rule in enumerate(route.spec.rules):
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
        policies = said[at].of_route(f"{route.key}/{at}")
        preflights = any(
            one.cors
            for filters in (rule.filters, *(ref.filters for ref in rule.backend_refs))
            for one in filters
        )
        for which, match in enumerate(rule.matches):
            order = (*_precedence(match), *route.age_order, at, which)
            name = f"{route.key}/{at}/{which}" + (f"/{rule.name}" if rule.name else "")
            session = _session(route, rule, at, match, said[at])
            entries = [
                wire(Route, name=name + kind.suffix, match=matcher + kind.matcher)
                + policies
                + kind.of_route
                + share.wire
                + session
                for kind, found in classes
                for share in found
                for matcher in matchers(
                    match, apart=share.apart, preflights=preflights, below=share.below
                )
            ]
            yield _Made(order, wire(VirtualHost, routes=entries))


def _session(route: HttpRoute, rule: Rule, at: int, match: Match, said: RulePolicies) -> bytes:
    session = said.session_of(rule)
    if session is None:
        return b""
    default_name = f"weir-{route.metadata.namespace}-{route.metadata.name}-{at}"
    return sessions(session, default_name, match.path, strict=said.strict)


def _exactness(host: str) -> tuple[int, int]:
    """A plain host before a wildcard, a longer one before a shorter, `*` last."""
    return (0 if host.startswith("*") else 1, len(host.removeprefix("*")))


def _covering(host: str) -> Iterator[str]:
    """The host names that a listener or route may give and that take in this one, exactest first.

    >>> list(_covering("a.example.com"))
    ['a.example.com', '*.example.com', '*.com', '*']
    """
    yield host
    rest = host.removeprefix("*.")
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    if host != "*":
        yield "*"


def _precedence(match: Match) -> tuple[int, int, int, int, int]:
    return (
        _PATH_ORDER[match.path.type],
        -len(match.path.value.rstrip("/")),
        0 if match.method else 1,
        -len(list(first_of_each(match.headers))),
        -len(match.query_params),
    )


def needs_unresolved(scene: Scene, pairs: Sequence[Pair]) -> bool:
    """Whether a part of some rule waits for its endpoints while another part has some."""
    for _, route in pairs:
        for rule in route.spec.rules:
            clusters = {target(scene, route, ref) for ref in rule.backend_refs if ref.weight}
            if UNRESOLVED in clusters and len(clusters - {None}) > 1:
                return True
    return False
