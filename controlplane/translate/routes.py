"""Route tables: one for each port of a Gateway, in the order of precedence of the Gateway API.

Hosts first: a request belongs to the listener whose host name fits it best, and to no other; there
the route with the most exact host goes first. Then an exact path, a pattern, the longest prefix;
then a method, the number of headers, the number of query parameters; then the older route, the name
of the route, and the order within it.

Tried again is only what never reached an endpoint (it did not connect, or refused the stream):
once, at another endpoint. Everything else may have had its effect.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    QueryParameterMatcher,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from controlplane.resources.declared import Declared
from controlplane.resources.gateway import Listener
from controlplane.resources.route import (
    HeaderMatch,
    HttpRoute,
    Match,
    PathMatch,
    QueryParamMatch,
    Rule,
)
from controlplane.resources.topology import covers, hostnames, resolve_backend
from controlplane.translate.clusters import UNRESOLVED
from controlplane.translate.wire import duration, number, packed, wire

_PATH_ORDER = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}

Pair = tuple[Listener, HttpRoute]


_Order = tuple[int | str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """One match of one rule of one route, and what it comes to."""

    order: _Order
    wire: bytes


class RouteTables:
    """Makes route tables; what a rule comes to is kept as long as the rule is."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[HttpRoute, frozenset[str], tuple[_Made, ...]]] = {}
        self._used: set[int] = set()

    def begin(self) -> None:
        """Forget what the last pass did not use."""
        self._kept = {key: kept for key, kept in self._kept.items() if key in self._used}
        self._used = set()

    def table(
        self,
        name: str,
        declared: Declared,
        listeners: Sequence[Listener],
        pairs: Sequence[Pair],
        known: Collection[str],
    ) -> bytes:
        """The table of one port: its listeners, the routes attached to them, the clusters known."""
        out = [wire(RouteConfiguration, name=name, ignore_port_in_host_matching=True)]
        for host, entries in self._hosts(declared, listeners, pairs, known):
            head = wire(VirtualHost, name=host, domains=[host], retry_policy=_retries())
            body = b"".join(wire(VirtualHost, routes=[entry.wire]) for entry in entries)
            out.append(wire(RouteConfiguration, virtual_hosts=[head + body]))
        return b"".join(out)

    def _hosts(
        self,
        declared: Declared,
        listeners: Sequence[Listener],
        pairs: Sequence[Pair],
        known: Collection[str],
    ) -> Iterator[tuple[str, list[_Made]]]:
        """Each host with its entries in order; a host of a listener without routes has none."""
        by_host: dict[str, dict[str, list[_Made]]] = {one.name: {} for one in listeners}
        hosts: set[str] = {listener.hostname or "*" for listener in listeners}
        for listener, route in pairs:
            made = self._made(declared, route, known)
            for host in hostnames(listener, route):
                hosts.add(host)
                by_host[listener.name].setdefault(host, []).extend(made)
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
            yield host, list(found.values())

    def _made(
        self, declared: Declared, route: HttpRoute, known: Collection[str]
    ) -> tuple[_Made, ...]:
        reached = frozenset(
            key
            for rule in route.spec.rules
            for ref in rule.backend_refs
            if isinstance(key := resolve_backend(declared, route, ref), str) and key in known
        )
        kept = self._kept.get(id(route))
        if kept is None or kept[0] is not route or kept[1] != reached:
            kept = (route, reached, tuple(_make(declared, route, reached)))
            self._kept[id(route)] = kept
        self._used.add(id(route))
        return kept[2]


def _make(declared: Declared, route: HttpRoute, known: Collection[str]) -> Iterator[_Made]:
    for at, rule in enumerate(route.spec.rules):
        action = _action(declared, route, rule, known)
        for which, match in enumerate(rule.matches):
            order = (*_precedence(match), *route.age_order, at, which)
            named = wire(Route, name=f"{route.key}/{at}/{which}", match=_match(match))
            yield _Made(order, named + action)


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
        -len(match.path.value),
        0 if match.method else 1,
        -len(match.headers),
        -len(match.query_params),
    )


def _action(declared: Declared, route: HttpRoute, rule: Rule, known: Collection[str]) -> bytes:
    """Where requests go: the part of a Route that says so."""
    if not rule.backend_refs:
        return _direct(404, "no backend is declared for this route\n")
    parts: dict[str, int] = {}
    for ref in rule.backend_refs:
        key = resolve_backend(declared, route, ref)
        cluster = key if isinstance(key, str) and key in known else UNRESOLVED
        if ref.weight:
            parts[cluster] = parts.get(cluster, 0) + ref.weight
    if set(parts) <= {UNRESOLVED}:
        return _direct(503, "no backend of this route can be reached\n")
    limits = wire(RouteAction, timeout=duration(rule.timeouts.request))
    if len(parts) == 1:
        return wire(Route, route=wire(RouteAction, cluster=next(iter(parts))) + limits)
    weighted = [
        wire(WeightedClusterClusterWeight, name=name, weight=number(weight))
        for name, weight in parts.items()
    ]
    shares = wire(RouteAction, weighted_clusters=wire(WeightedCluster, clusters=weighted))
    return wire(Route, route=shares + limits)


def _direct(status: int, text: str) -> bytes:
    body = wire(DataSource, inline_string=text)
    return wire(Route, direct_response=wire(DirectResponseAction, status=status, body=body))


def needs_unresolved(declared: Declared, pairs: Sequence[Pair], known: Collection[str]) -> bool:
    """Whether a part of some rule leads nowhere while another part does lead somewhere."""
    for _, route in pairs:
        for rule in route.spec.rules:
            live = [
                isinstance(key := resolve_backend(declared, route, ref), str) and key in known
                for ref in rule.backend_refs
                if ref.weight
            ]
            if any(live) and not all(live):
                return True
    return False


def _match(match: Match) -> bytes:
    headers = [_header(one.name.lower(), _value(one)) for one in _first_of_each(match.headers)]
    if match.method:
        headers.append(_header(":method", wire(StringMatcher, exact=match.method)))
    queries = [
        wire(QueryParameterMatcher, name=one.name, string_match=_value(one))
        for one in match.query_params
    ]
    return _path(match.path) + wire(RouteMatch, headers=headers, query_parameters=queries)


def _path(path: PathMatch) -> bytes:
    if path.type == "Exact":
        return wire(RouteMatch, path=path.value)
    if path.type == "RegularExpression":
        return wire(RouteMatch, safe_regex=wire(RegexMatcher, regex=path.value))
    if path.value.rstrip("/"):
        return wire(RouteMatch, path_separated_prefix=path.value.rstrip("/"))
    return wire(RouteMatch, prefix="/")


def _first_of_each(headers: Sequence[HeaderMatch]) -> Iterator[HeaderMatch]:
    """The Gateway API takes the first match of a header name and no other."""
    seen: set[str] = set()
    for one in headers:
        if one.name.lower() not in seen:
            seen.add(one.name.lower())
            yield one


def _header(name: str, value: bytes) -> bytes:
    return wire(HeaderMatcher, name=name, string_match=value)


def _value(one: HeaderMatch | QueryParamMatch) -> bytes:
    if one.type == "RegularExpression":
        return wire(StringMatcher, safe_regex=wire(RegexMatcher, regex=one.value))
    return wire(StringMatcher, exact=one.value)


@functools.cache
def _retries() -> bytes:
    elsewhere = wire(
        RetryPolicyRetryHostPredicate,
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(PreviousHostsPredicate),
    )
    return wire(
        RetryPolicy,
        retry_on="connect-failure,refused-stream",
        num_retries=number(1),
        retry_host_predicate=[elsewhere],
        host_selection_retry_max_attempts=3,
    )
