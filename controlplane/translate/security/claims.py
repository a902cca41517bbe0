"""What stands in tokens, as Envoy keeps it of those that it found good.

It is kept by policy and provider, where nothing of a request leads: no client can write it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envoy_data_plane.envoy.config.route.v3 import RouteMatch
from envoy_data_plane.envoy.type.matcher.v3 import (
    ListMatcher,
    MetadataMatcher,
    MetadataMatcherPathSegment,
    OrMatcher,
    StringMatcher,
    ValueMatcher,
)

from controlplane.resources.authorization import JwtPrincipal
from controlplane.translate.security.jwt import METADATA, provider_name
from controlplane.translate.wire import wire


def paths(principal: JwtPrincipal, policy: str) -> Iterator[tuple[list[str], Sequence[str], bool]]:
    """Of each claim that must hold: where it is kept, the values it may have, and whether it is a
    list that must have one of them."""
    kept = provider_name(policy, principal.provider)
    for claim in principal.claims:
        listed = claim.value_type == "StringArray"
        yield [kept, *claim.name.split(".")], claim.values, listed
    for scope in principal.scopes:
        yield [kept, "scope"], (scope,), True


def value(wanted: str, *, listed: bool) -> bytes:
    """A ValueMatcher: a text, or a list that has it."""
    exact = wire(ValueMatcher, string_match=wire(StringMatcher, exact=wanted))
    return wire(ValueMatcher, list_match=wire(ListMatcher, one_of=exact)) if listed else exact


def of_match(principal: JwtPrincipal, policy: str) -> bytes:
    """The part of a RouteMatch that holds for the bearers of such tokens. A policy that has no such
    provider keeps nothing, so it holds for nobody."""
    matchers = [
        wire(
            MetadataMatcher,
            filter=METADATA,
            path=[wire(MetadataMatcherPathSegment, key=key) for key in path],
            value=_one_of([value(one, listed=listed) for one in values]),
        )
        for path, values, listed in paths(principal, policy)
    ]
    return wire(RouteMatch, dynamic_metadata=matchers)


def _one_of(values: Sequence[bytes]) -> bytes:
    if len(values) == 1:
        return values[0]
    return wire(ValueMatcher, or_match=wire(OrMatcher, value_matchers=values))
