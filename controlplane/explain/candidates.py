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
from controlplane.resources.grpc_route import CallRoute
from controlplane.resources.matches import Match
from controlplane.resources.route import RequestRoute, Rule
from controlplane.resources.topology import attached, covers

Order = tuple[int | str, ...]

_OF_REQUESTS = (
    "an exact path goes before a pattern, a pattern before a prefix",
    "its path is longer",
    "it names the method",
    "it names more headers",
    "it names more query parameters",
)
_OF_CALLS = (
    "it says more of the service",
    "it says more of the method",
    "it names more headers",
    "",
    "",
)
"""See `Match.precedence`."""
_OF_ROUTES = (
    "its route is older",
    "its route is the first by name",
    "its rule stands first in the route",
    "its match stands first in the rule",
)
"""In words, what the parts of an `Order` are about."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A match of a rule of a route, where a request for `host` comes in by `listener`."""

    listener: Listener
    route: RequestRoute
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
        return self.route.name_of(self.rule_at, self.match_at)

    @property
    def field(self) -> str:
        """Where it stands in the document."""
        return f"spec.rules[{self.rule_at}].matches[{self.match_at}]"

    @property
    def order(self) -> Order:
        """Sorts what goes before to the front."""
        return (
            *(-part for part in exactness(self.host)),
            *self.match.precedence,
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
    host = "its route names the host more exactly"
    of_match = _OF_CALLS if isinstance(first.route, CallRoute) else _OF_REQUESTS
    words = (host, host, *of_match, *_OF_ROUTES)
    pairs = zip(first.order, second.order, words, strict=True)
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


def _of_route(listener: Listener, route: RequestRoute, host: str) -> Iterator[Candidate]:
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
