"""Every match that a request is held against, in the order of the Gateway API's precedence.

A request belongs to the listener whose host name fits it best, and to no other. There the most
exact host name of a route goes first, then an exact path, a pattern, the longest prefix; a method,
the number of headers, of query parameters; the older route, its name, the order within it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controlplane.explain.request import Request
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.matches import Match, first_of_each
from controlplane.resources.route import HttpRoute, Rule
from controlplane.resources.topology import attached, covers

_KINDS = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}

Order = tuple[int | str, ...]

_WHY = (
    "its route names the host more exactly",
    "its route names the host more exactly",
    "an exact path goes before a pattern, a pattern before a prefix",
    "its path is longer",
    "it names the method",
    "it names more headers",
    "it names more query parameters",
    "its route is older",
    "its route is the first by name",
    "its rule stands first in the route",
    "its match stands first in the rule",
)
"""In words, what each part of an `Order` is about."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A match of a rule of a route, where a request for `host` comes in by `listener`."""

    listener: Listener
    route: HttpRoute
    host: str
    """The host name of the route that the request fits best."""
    rule_at: int
    match_at: int

    @property
    def rule(self) -> Rule:
        """The rule."""
        return self.route.spec.rules[self.rule_at]

    @property
    def match(self) -> Match:
        """The match."""
        return self.rule.matches[self.match_at]

    @property
    def name(self) -> str:
        """What Envoy calls it: `namespace/name/rule/match`, and the name of the rule if any."""
        named = f"/{self.rule.name}" if self.rule.name else ""
        return f"{self.route.key}/{self.rule_at}/{self.match_at}{named}"

    @property
    def field(self) -> str:
        """Where it stands in the document."""
        return f"spec.rules[{self.rule_at}].matches[{self.match_at}]"

    @property
    def order(self) -> Order:
        """Sorts what goes before to the front."""
        match = self.match
        return (
            *(-part for part in exactness(self.host)),
            _KINDS[match.path.type],
            -len(match.path.value.rstrip("/")),
            0 if match.method else 1,
            -len(list(first_of_each(match.headers))),
            -len(match.query_params),
            *self.route.age_order,
            self.rule_at,
            self.match_at,
        )


def exactness(host: str) -> tuple[int, int]:
    """Larger for a host name that is more exact.

    >>> exactness("a.test") > exactness("*.b.a.test") > exactness("*.test") > exactness("*")
    True
    """
    return (0 if host.startswith("*") else 1, len(host.removeprefix("*")))


def why_before(first: Candidate, second: Candidate) -> str:
    """In words, why the first goes before the second."""
    pairs = zip(first.order, second.order, _WHY, strict=True)
    return next((why for mine, theirs, why in pairs if mine != theirs), "")


def listener_for(listeners: Sequence[Listener], host: str) -> Listener | None:
    """Of the listeners of a port, the one that a host belongs to."""
    fitting = [one for one in listeners if covers(one.hostname or "*", host)]
    return max(fitting, key=lambda one: exactness(one.hostname or "*"), default=None)


def candidates(
    declared: Declared, gateway: Gateway, listener: Listener, request: Request
) -> list[Candidate]:
    """All that could take it by its host, whatever its path."""
    found = [
        one
        for here, route in attached(declared)[gateway.key]
        if here is listener
        for one in _of_route(listener, route, request.host)
    ]
    return sorted(found, key=lambda one: one.order)


def _of_route(listener: Listener, route: HttpRoute, host: str) -> Iterator[Candidate]:
    names = [name for name in route.spec.hostnames or ("*",) if covers(name, host)]
    if not names or not covers(listener.hostname or "*", host):
        return
    best = max(names, key=exactness)
    for rule_at, rule in enumerate(route.spec.rules):
        for match_at in range(len(rule.matches)):
            yield Candidate(listener, route, best, rule_at, match_at)


def place_of(declared: Declared, key: ObjectKey, field: str = "") -> tuple[str, int]:
    """File and line of an object, or of a field of it where the line of that is known."""
    source = declared.sources[key]
    return source.file, source.lines.get(field, source.line)
