"""A filter that a route brings along whole.

Some filters take little of their configuration from a route. Envoy's composite filter takes another
filter from it, with all that belongs to it: so such filters come and go with routes, and listeners
stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.extensions.filters.http.composite.v3 import (
    Composite,
    CompositePerRoute,
    ExecuteFilterAction,
    FilterChainConfiguration,
)
from envoy_data_plane.xds.type.matcher.v3 import Matcher, MatcherOnMatch

from controlplane.translate.types import extension
from controlplane.translate.wire import packed, wire


def empty() -> bytes:
    """For a listener: no filter, until a route brings one."""
    return packed(Composite)


def brought(name: str, config: bytes) -> bytes:
    """For a route: the filter of this kind with this configuration, an `Any`."""
    return _executed(wire(ExecuteFilterAction, typed_config=extension(name, config)))


def in_order(filters: Sequence[bytes]) -> bytes:
    """For a route: these filters, extensions, one after another."""
    chain = wire(FilterChainConfiguration, typed_config=filters)
    return _executed(wire(ExecuteFilterAction, filter_chain=chain))


def _executed(execute: bytes) -> bytes:
    action = extension("weir.dev/filter", packed(ExecuteFilterAction, execute))
    matcher = wire(Matcher, on_no_match=wire(MatcherOnMatch, action=action))
    return packed(CompositePerRoute, wire(CompositePerRoute, matcher=matcher))
