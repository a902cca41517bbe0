"""Requests by CEL: Envoy notes what an expression comes to, then routes again.

That it routes again is said in the listener; the same setting of a route has no effect.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import Route, RouteMatch
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import Config
from envoy_data_plane.envoy.extensions.formatter.cel.v3 import Cel
from envoy_data_plane.envoy.type.matcher.v3 import FilterStateMatcher, StringMatcher

from controlplane.resources.route_filter import Expression
from controlplane.translate.types import extension
from controlplane.translate.wire import packed, wire

FILTER = "weir.filters.http.expressions"
"""Routes switch filters on by name: that of `classes` is of the same kind and stands elsewhere."""


def unused() -> bytes:
    """The filter as it stands in listeners, switched off."""
    return packed(Config, wire(Config, clear_route_cache=True))


def of_route(found: Sequence[Expression]) -> bytes:
    """The part of a Route that has these looked at."""
    if not found:
        return b""
    values = [_value(text) for text in sorted({one.expression for one in found})]
    config = packed(Config, wire(Config, on_request_headers=values))
    return wire(Route, typed_per_filter_config={FILTER: config})


def of_match(one: Expression) -> bytes:
    """The part of a RouteMatch: it came to true."""
    true = wire(StringMatcher, exact="true")
    matcher = wire(FilterStateMatcher, key=_name(one.expression), string_match=true)
    return wire(RouteMatch, filter_state=[matcher])


def _name(expression: str) -> str:
    return f"weir.dev/cel/{expression}"


def _value(expression: str) -> bytes:
    text = wire(
        SubstitutionFormatString,
        text_format_source=wire(DataSource, inline_string=f"%CEL({expression})%"),
        formatters=[extension("envoy.formatter.cel", packed(Cel))],
    )
    return wire(
        FilterStateValue,
        object_key=_name(expression),
        factory_key="envoy.string",
        format_string=text,
    )
