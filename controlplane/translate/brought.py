"""Filters that a route brings along.

Some filters Envoy knows with one configuration for a whole listener, and some are better not there
at all unless somebody asks for them. The filter `filter_chain` stands for them in every listener,
empty and switched off, once for each kind; a route hands it the filter to run. So a policy that
comes or goes changes no listener here either.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.extensions.filters.http.filter_chain.v3 import (
    FilterChain,
    FilterChainConfig,
    FilterChainConfigPerRoute,
)

from controlplane.translate.types import extension
from controlplane.translate.wire import packed, wire

EMPTY = packed(FilterChainConfig)
"""The configuration in the listener."""


def brought(name: str, config: bytes) -> bytes:
    """The configuration for a route, which runs the filter `name` with its configuration."""
    return in_order([extension(name, config)])


def in_order(filters: Sequence[bytes]) -> bytes:
    """The configuration for a route, which runs these filters one after another."""
    chain = wire(FilterChain, filters=filters)
    return packed(FilterChainConfigPerRoute, wire(FilterChainConfigPerRoute, filter_chain=chain))
