"""Sessions: a cookie or a header leads a client back to the endpoint that served it before.

The filter stands in every listener, switched off; the policy of a route switches it on. Envoy keeps
nothing: the address is in the cookie or header. An endpoint that drains keeps its sessions and gets
no others. One that is gone is replaced by another, or its sessions are refused (`strict`).
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.http.stateful_session.v3 import (
    StatefulSession,
    StatefulSessionPerRoute,
)
from envoy_data_plane.envoy.extensions.http.stateful_session.cookie.v3 import (
    CookieBasedSessionState,
)
from envoy_data_plane.envoy.extensions.http.stateful_session.header.v3 import (
    HeaderBasedSessionState,
)
from envoy_data_plane.envoy.type.http.v3 import Cookie

from controlplane.resources.delivery import SessionPersistence
from controlplane.resources.matches import PathMatch
from controlplane.translate.types import extension
from controlplane.translate.wire import duration, packed, wire

FILTER = "envoy.filters.http.stateful_session"


def sessions(
    one: SessionPersistence, default_name: str, path: PathMatch, *, strict: bool = False
) -> bytes:
    """The part of a Route that keeps sessions."""
    name = one.session_name or default_name
    state = _cookie(one, name, path) if one.type == "Cookie" else _header(name)
    session = wire(StatefulSession, session_state=state, strict=strict)
    policy = wire(StatefulSessionPerRoute, stateful_session=session)
    packed_policy = packed(StatefulSessionPerRoute, policy)
    return wire(Route, typed_per_filter_config={FILTER: packed_policy})


def _cookie(one: SessionPersistence, name: str, path: PathMatch) -> bytes:
    """A cookie for the paths that the match takes; a pattern may take any."""
    open_ = path.type == "RegularExpression" or ";" in path.value  # which ends it in a cookie
    held = "/" if open_ else path.value.rstrip("/") or "/"
    cookie = wire(Cookie, name=name, path=held)
    if one.absolute_timeout:
        cookie += wire(Cookie, ttl=duration(one.absolute_timeout))
    state = packed(CookieBasedSessionState, wire(CookieBasedSessionState, cookie=cookie))
    return extension("envoy.http.stateful_session.cookie", state)


def _header(name: str) -> bytes:
    state = packed(HeaderBasedSessionState, wire(HeaderBasedSessionState, name=name))
    return extension("envoy.http.stateful_session.header", state)
