"""The HTTP filters of every listener, in the order in which a request meets them.

Those that routes switch on stand in every listener and cost nothing until one does: so a policy
that comes or goes changes route tables alone, and no connection is drained for it.

Who may come in is asked first. Answers are compressed last, so code of your own sees them plain,
and the cache keeps them plain, one for all clients. That code stands before the cache: it sees
every request, also one that the cache answers.
"""

from __future__ import annotations

from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.http.stateful_session.v3 import StatefulSession
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from controlplane.translate import brought, compression, cors, extensions, sessions, traffic
from controlplane.translate.security import filters as access
from controlplane.translate.wire import number, packed, wire


def http_filters(table: str) -> list[bytes]:
    """All of them, for a listener with this route table; the router is the last."""
    return [
        *access.before_cors(table),
        _switched_off(cors.FILTER, packed(Cors)),
        *access.after_cors(),
        *(_switched_off(*one) for one in compression.filters()),
        _switched_off(extensions.LUA, packed(Lua)),
        _switched_off(traffic.BROUGHT, brought.EMPTY),
        _switched_off(traffic.BUFFER, packed(Buffer, wire(Buffer, max_request_bytes=number(1)))),
        _switched_off(sessions.FILTER, packed(StatefulSession)),
        wire(HttpFilter, name="envoy.filters.http.router", typed_config=packed(Router)),
    ]


def _switched_off(name: str, config: bytes) -> bytes:
    """A filter that costs nothing until a route switches it on."""
    return wire(HttpFilter, name=name, typed_config=config, disabled=True)
