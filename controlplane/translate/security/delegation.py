"""A filter that a route brings along whole.

Some filters take little of their configuration from a route. Envoy's composite filter takes another
filter from it, with all that belongs to it: so such filters come and go with routes, and listeners
stay as they are.
"""

from __future__ import annotations

from envoy_data_plane.envoy.extensions.filters.http.composite.v3 import (
    Composite,
    CompositePerRoute,
    ExecuteFilterAction,
)
from envoy_data_plane.xds.type.matcher.v3 import Matcher, MatcherOnMatch

from controlplane.translate.types import extension
from controlplane.translate.wire import packed, wire


def empty() -> bytes:
    """For a listener: no filter, until a route brings one."""
    return packed(Composite)


def brought(name: str, config: bytes) -> bytes:
    """For a route: the filter of this kind with this configuration, an `Any`."""
    execute = wire(ExecuteFilterAction, typed_config=extension(name, config))
    action = extension("weir.dev/filter", packed(ExecuteFilterAction, execute))
    matcher = wire(Matcher, on_no_match=wire(MatcherOnMatch, action=action))
    return packed(CompositePerRoute, wire(CompositePerRoute, matcher=matcher))
