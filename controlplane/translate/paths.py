"""Other paths and hosts: redirects and rewrites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envoy_data_plane.envoy.config.route.v3 import (
    RedirectAction,
    RedirectActionRedirectResponseCode,
    Route,
    RouteAction,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher

from controlplane.resources.filters import Filter, PathModifier, RequestRedirect
from controlplane.resources.gateway import Listener
from controlplane.resources.matches import PathMatch
from controlplane.translate.wire import wire

_WELL_KNOWN = {"http": 80, "https": 443}
_STATUS = {
    301: RedirectActionRedirectResponseCode.MOVED_PERMANENTLY,
    302: RedirectActionRedirectResponseCode.FOUND,
    303: RedirectActionRedirectResponseCode.SEE_OTHER,
    307: RedirectActionRedirectResponseCode.TEMPORARY_REDIRECT,
    308: RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
}
_WHOLE = wire(RegexMatcher, regex="^/.*$")


def redirect_of(filters: Iterable[Filter]) -> RequestRedirect | None:
    """The redirect among these, if there is one."""
    return next((one.request_redirect for one in filters if one.request_redirect), None)


def host_change(filters: Sequence[Filter]) -> str | None:
    """The host that the last of these puts in place."""
    rewrites = [one.url_rewrite for one in filters if one.url_rewrite]
    return next((one.hostname for one in reversed(rewrites) if one.hostname), None)


def path_change(filters: Sequence[Filter]) -> PathModifier | None:
    """How the last of these that does so changes the path."""
    rewrites = [one.url_rewrite for one in filters if one.url_rewrite]
    return next((one.path for one in reversed(rewrites) if one.path), None)


def takes_away(modifier: PathModifier | None, path: PathMatch) -> bool:
    """Whether the prefix of the match goes and nothing comes in its place."""
    if modifier is None or modifier.type != "ReplacePrefixMatch":
        return False
    new = (modifier.replace_prefix_match or "").rstrip("/")
    return not new and bool(path.value.rstrip("/"))


def redirect(one: RequestRedirect, path: PathMatch, listener: Listener) -> bytes:
    """The part of a Route that redirects.

    The port is left out where it is that of the scheme, but not where the client's own host has a
    port that Envoy would keep: the listener's is not that of its scheme, and no host is given.
    """
    arrived = listener.protocol.lower()
    scheme = one.scheme or arrived
    port = one.port or (_WELL_KNOWN[scheme] if one.scheme else listener.port)
    bare = one.hostname is not None or listener.port == _WELL_KNOWN[arrived]
    action = wire(RedirectAction, response_code=_STATUS[one.status_code])
    if one.scheme:
        action += wire(RedirectAction, scheme_redirect=one.scheme)
    if one.hostname:
        action += wire(RedirectAction, host_redirect=one.hostname)
    if port != _WELL_KNOWN[scheme] or not bare:
        action += wire(RedirectAction, port_redirect=port)
    if one.path and one.path.replace_full_path is not None:
        action += wire(RedirectAction, path_redirect=one.path.replace_full_path)
    elif one.path and (prefix := _prefix(one.path, path)):
        action += wire(RedirectAction, prefix_rewrite=prefix)
    return wire(Route, redirect=action)


def rewrite(modifier: PathModifier | None, path: PathMatch) -> bytes:
    """The part of a RouteAction that puts another path in place; the query stays."""
    if modifier is None:
        return b""
    if modifier.replace_full_path is not None:
        whole = wire(
            RegexMatchAndSubstitute, pattern=_WHOLE, substitution=modifier.replace_full_path
        )
        return wire(RouteAction, regex_rewrite=whole)
    prefix = _prefix(modifier, path)
    return wire(RouteAction, prefix_rewrite=prefix) if prefix else b""


def _prefix(modifier: PathModifier, path: PathMatch) -> str:
    """What Envoy puts in place of what the match takes; empty: nothing changes."""
    new = (modifier.replace_prefix_match or "").rstrip("/")
    if not path.value.rstrip("/"):  # the match takes the first '/' alone
        return f"{new}/" if new else ""
    return new or "/"
