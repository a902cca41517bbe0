"""Filters that a route brings along.

Some of Envoy's filters cannot be switched on by a route, or take nothing from one. A route that
wants them carries them whole, and one filter of the listener, switched off for all others, runs
them in its place: so they too come and go with route tables alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.http.filter_chain.v3 import (
    FilterChain,
    FilterChainConfigPerRoute,
)

from controlplane.translate.wire import packed, wire

FILTER = "envoy.filters.http.filter_chain"


def of_route(filters: Sequence[bytes]) -> bytes:
    """The part of a Route: these filters, in order."""
    if not filters:
        return b""
    chain = wire(FilterChainConfigPerRoute, filter_chain=wire(FilterChain, filters=filters))
    return wire(Route, typed_per_filter_config={FILTER: packed(FilterChainConfigPerRoute, chain)})
