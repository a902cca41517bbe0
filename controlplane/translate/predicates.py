"""Conditions of Envoy's matchers, put together."""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.xds.type.matcher.v3 import (
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicatePredicateList,
)

from controlplane.translate.wire import wire


def any_of(predicates: Sequence[bytes]) -> bytes:
    """One of these holds."""
    if len(predicates) == 1:
        return predicates[0]
    listed = wire(MatcherMatcherListPredicatePredicateList, predicate=predicates)
    return wire(MatcherMatcherListPredicate, or_matcher=listed)


def all_of(predicates: Sequence[bytes]) -> bytes:
    """All of these hold."""
    if len(predicates) == 1:
        return predicates[0]
    listed = wire(MatcherMatcherListPredicatePredicateList, predicate=predicates)
    return wire(MatcherMatcherListPredicate, and_matcher=listed)
