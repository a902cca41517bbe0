"""Sessions: a cookie or a header leads a client back to the endpoint that served it before.

The filter stands in every listener, switched off; the policy of a route switches it on. Envoy keeps
nothing: the address is in the cookie or header. An endpoint that drains keeps its sessions and gets
no others. One that is gone is replaced by another, or its sessions are refused (`strict`).

Which requests a session led is said in their access log entries, for weights cannot move these. The
log stands in the listener and knows no names of sessions: the route has them in its metadata.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy_data_plane.envoy.config.core.v3 import Metadata
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
from envoy_data_plane.envoy.type.tracing.v3 import CustomTag
from envoy_data_plane.google.protobuf import Struct, Value

from controlplane.resources.delivery import SessionPersistence
from controlplane.resources.matches import PathMatch
from controlplane.translate.types import extension
from controlplane.translate.wire import duration, packed, wire

FILTER = "envoy.filters.http.stateful_session"

_METADATA = "weir.dev/session"
_NAMED = f"xds.route_metadata.filter_metadata['{_METADATA}']"
_BY_HEADER = f"{_NAMED}['header'] in request.headers && !({_NAMED}['header'] in response.headers)"
_BY_COOKIE = (
    f"(request.headers['cookie'].startsWith({_NAMED}['cookie'])"
    f" || request.headers['cookie'].contains({_NAMED}['among']))"
    " && !('set-cookie' in response.headers"
    f" && response.headers['set-cookie'].contains({_NAMED}['cookie']))"
)
STICKY = f"%CEL(('header' in {_NAMED} ? {_BY_HEADER} : {_BY_COOKIE}) ? 'y' : '')%"
"""Says whether a session led a request where it went: the request has it, and the answer does not
replace it, as Envoy does where it went elsewhere. Empty, and so not in the entry, where not."""


def sticky_tag() -> bytes:
    """A CustomTag: there for requests that a session led."""
    return wire(CustomTag, tag="sticky", value=STICKY)


def sessions(
    one: SessionPersistence, default_name: str, path: PathMatch, *, strict: bool = False
) -> bytes:
    """The part of a Route that keeps sessions."""
    name = one.session_name or default_name
    state = _cookie(one, name, path) if one.type == "Cookie" else _header(name)
    session = wire(StatefulSession, session_state=state, strict=strict)
    policy = wire(StatefulSessionPerRoute, stateful_session=session)
    packed_policy = packed(StatefulSessionPerRoute, policy)
    said = {"header": name.lower()}
    if one.type == "Cookie":  # alone or first, or among others: Envoy's CEL puts no text together
        said = {"cookie": f"{name}=", "among": f"; {name}="}
    return wire(Route, typed_per_filter_config={FILTER: packed_policy}, metadata=_metadata(said))


def _metadata(said: Mapping[str, str]) -> bytes:
    fields = {key: wire(Value, string_value=value) for key, value in said.items()}
    return wire(Metadata, filter_metadata={_METADATA: wire(Struct, fields=fields)})


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
