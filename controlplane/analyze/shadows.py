"""Matches that no request can ever reach, because another takes all of theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from controlplane.analyze.findings import Finding, Scene, Severity
from controlplane.explain.candidates import Candidate, listener_for, why_before
from controlplane.resources.declared import ObjectKey
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.matches import (
    HeaderMatch,
    Match,
    PathMatch,
    QueryParamMatch,
    first_of_each,
)
from controlplane.resources.route import HttpRoute
from controlplane.resources.topology import attached, hostnames

_EVERY_PATH = frozenset({".*", "/.*"})

_Place = tuple[str, int, int]
"""A route, a rule, a match."""


def never_reached(scene: Scene) -> Iterator[Finding]:
    """WEIR0301: another match takes all of its requests. WEIR0302: another listener has its host.

    A match that is reached by one listener or host name is not reported for the others.
    """
    whole: dict[_Place, str] = {}
    reached: set[_Place] = set()
    for key, pairs in attached(scene.declared).items():
        gateway = scene.declared.gateways[key]
        groups: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
        for listener, route in pairs:
            if not _has_a_host(gateway, listener, route):
                why = f"its hosts belong to other listeners than {listener.name}"
                whole |= {_place(one): why for one in _matches(listener, route, "*")}
                continue
            for host in route.spec.hostnames or ("*",):
                groups[listener.name, host] += _matches(listener, route, host)
        for group in groups.values():
            for one, by in _shadows(group):
                if by is None:
                    reached.add(_place(one))
                else:
                    whole[_place(one)] = f"{by.name} takes all of it: {why_before(by, one)}"
    for place, why in sorted(whole.items()):
        if place not in reached:
            yield _finding(scene, place, why)


def _finding(scene: Scene, place: _Place, why: str) -> Finding:
    route, rule, match = place
    code = "WEIR0302" if why.startswith("its hosts") else "WEIR0301"
    message = f"match {match} of rule {rule} is never reached: {why}"
    field = f"spec.rules[{rule}].matches[{match}]"
    advice = "remove it, or make it more exact"
    key = ObjectKey("HTTPRoute", route)
    return scene.finding(Severity.WARNING, code, key, message, advice, field)


def _place(one: Candidate) -> _Place:
    return one.route.key, one.rule_at, one.match_at


def _matches(listener: Listener, route: HttpRoute, host: str) -> Iterator[Candidate]:
    for rule_at, rule in enumerate(route.spec.rules):
        for match_at in range(len(rule.matches)):
            yield Candidate(listener, route, host, rule_at, match_at)


def _has_a_host(gateway: Gateway, listener: Listener, route: HttpRoute) -> bool:
    """Whether a host of the route belongs to this listener, not to another of the port. With TLS
    the connection says which listener is meant."""
    if listener.protocol != "HTTP":
        return True
    here = [one for one in gateway.spec.listeners if one.port == listener.port]
    return any(listener_for(here, name) is listener for name in hostnames(listener, route))


def _shadows(group: list[Candidate]) -> Iterator[tuple[Candidate, Candidate | None]]:
    """Each, with one before it that takes all of its requests. All have the same host."""
    by_path: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    everything: list[Candidate] = []
    for one in sorted(group, key=lambda each: each.order):
        same = by_path[_path(one.match.path)]
        before = (each for each in (*everything, *same) if takes_all(each.match, one.match))
        yield one, next(before, None)
        same.append(one)
        if one.match.path.type == "RegularExpression" and one.match.path.value in _EVERY_PATH:
            everything.append(one)


def _path(path: PathMatch) -> tuple[str, str]:
    """Prefixes that differ in the '/' at their end alone are the same."""
    return path.type, path.value.rstrip("/") if path.type == "PathPrefix" else path.value


def takes_all(one: Match, other: Match) -> bool:
    """Whether what else `one` wants beside the path is wanted by `other` too."""
    return (
        one.method in (None, other.method)
        and _headers(one) <= _headers(other)
        and _values(one.query_params) <= _values(other.query_params)
    )


def _headers(match: Match) -> set[tuple[str, str, str]]:
    return {(one.name.lower(), one.type, one.value) for one in first_of_each(match.headers)}


def _values(
    wanted: tuple[HeaderMatch, ...] | tuple[QueryParamMatch, ...],
) -> set[tuple[str, str, str]]:
    return {(one.name, one.type, one.value) for one in wanted}
