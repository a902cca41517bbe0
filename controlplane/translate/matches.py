"""Which requests an Envoy route takes, from a match of the Gateway API.

A match becomes several where one cannot say it: a prefix that is taken away is met as a whole path
and as what stands before a '/', because Envoy puts text in its place, and none is not a path. And
with CORS a browser asks first, by OPTIONS, whether it may use the method of the match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envoy_data_plane.envoy.config.core.v3 import RuntimeFractionalPercent
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    QueryParameterMatcher,
    RouteMatch,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from controlplane.resources.matches import (
    HeaderMatch,
    Match,
    PathMatch,
    QueryParamMatch,
    first_of_each,
)
from controlplane.resources.route_filter import Condition
from controlplane.translate import conditions, shares
from controlplane.translate.wire import wire


def matchers(
    match: Match,
    *,
    apart: bool,
    preflights: bool,
    below: int | None,
    condition: Condition | None = None,
    policy: str = "",
) -> Iterator[bytes]:
    """The RouteMatches that stand for a match.

    `apart`: its prefix is taken away. `preflights`: also the question whether its method may be
    used. `below`: of a million requests those with a random number below this. `condition`:
    those for which it holds; `policy` is the SecurityPolicy that looks at their tokens.
    """
    headers = header_matchers(match.headers)
    queries = [
        wire(QueryParameterMatcher, name=one.name, string_match=_value(one))
        for one in match.query_params
    ]
    rest = wire(RouteMatch, headers=headers, query_parameters=queries)
    if below is not None:
        rest += wire(RouteMatch, runtime_fraction=chance(below))
    if condition is not None:
        rest += conditions.of_match(condition, policy)
    for path in _paths(match.path, apart):
        for method in _methods(match, preflights):
            yield path + rest + wire(RouteMatch, headers=method)


def header_matchers(headers: Sequence[HeaderMatch]) -> list[bytes]:
    """Of a name given twice the first."""
    return [header(one) for one in first_of_each(headers)]


def method_matcher(method: str) -> bytes:
    """Requests of one method."""
    return _header(":method", wire(StringMatcher, exact=method))


def chance(millionths: int) -> bytes:
    """By chance, so many of a million."""
    return wire(RuntimeFractionalPercent, default_value=shares.millionths(millionths))


def _paths(path: PathMatch, apart: bool) -> list[bytes]:
    plain = path.value.rstrip("/")
    if path.type == "Exact":
        return [wire(RouteMatch, path=path.value)]
    if path.type == "RegularExpression":
        return [wire(RouteMatch, safe_regex=wire(RegexMatcher, regex=path.value))]
    if apart:
        return [wire(RouteMatch, path=plain), wire(RouteMatch, prefix=f"{plain}/")]
    if plain:
        return [wire(RouteMatch, path_separated_prefix=plain)]
    return [wire(RouteMatch, prefix="/")]


def _methods(match: Match, preflights: bool) -> Iterator[list[bytes]]:
    if match.method is None:
        yield []
        return
    yield [method_matcher(match.method)]
    if preflights and match.method != "OPTIONS":
        yield [
            method_matcher("OPTIONS"),
            _header("access-control-request-method", wire(StringMatcher, exact=match.method)),
        ]


def header(one: HeaderMatch) -> bytes:
    """A header that a request must have."""
    return _header(one.name.lower(), _value(one))


def _header(name: str, wanted: bytes) -> bytes:
    return wire(HeaderMatcher, name=name, string_match=wanted)


def _value(one: HeaderMatch | QueryParamMatch) -> bytes:
    if one.type == "RegularExpression":
        return wire(StringMatcher, safe_regex=wire(RegexMatcher, regex=one.value))
    return wire(StringMatcher, exact=one.value)
