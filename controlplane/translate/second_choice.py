"""Routes are chosen a second time, behind all that says who sends a request.

When a request comes in Envoy takes a route by what the client sent. Behind authentication a filter
notes the client's address and has Envoy choose again, so that tokens which authentication read and
headers which it set count, and addresses, which no route can ask for by itself. All routes of a
rule do the same before that point.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import Config

from controlplane.translate.wire import packed, wire

FILTER = "envoy.filters.http.set_filter_state"
CLIENT = "weir.dev/client"
"""What the client's address is noted as."""
_ADDRESS = "envoy.network.ip"
"""The factory of objects that hold an address, which alone are held against networks."""


def unused() -> bytes:
    """The filter as it stands in listeners. Envoy takes from there whether to choose again, and not
    from the configuration of a route, which only switches it on."""
    text = wire(DataSource, inline_string="%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")
    address = wire(
        FilterStateValue,
        object_key=CLIENT,
        factory_key=_ADDRESS,
        format_string=wire(SubstitutionFormatString, text_format_source=text),
    )
    return packed(Config, wire(Config, on_request_headers=[address], clear_route_cache=True))


def of_route() -> bytes:
    """The part of a Route that has Envoy choose again."""
    return wire(Route, typed_per_filter_config={FILTER: packed(Config)})
