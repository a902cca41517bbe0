"""CORS: Envoy's filter answers preflights, and says in responses who may read them.

The filter stands in every listener, switched off; the policy of a route switches it on. Envoy sends
no `*` where a preflight names a method and headers: it names them too, as credentials need it.
"""

from __future__ import annotations

from collections.abc import Sequence

from betterproto2 import Message
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import CorsPolicy
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from controlplane.resources.cors import Cors, origin_pattern
from controlplane.resources.filters import Filter
from controlplane.translate.wire import FALSE, TRUE, packed, wire

FILTER = "envoy.filters.http.cors"


def cors(kind: type[Message], filters: Sequence[Filter]) -> bytes:
    """The part of a Route, or of a weighted cluster, with the last policy of these filters."""
    policy = next((one.cors for one in reversed(filters) if one.cors), None)
    if policy is None:
        return b""
    return policy_for(kind, policy)


def policy_for(kind: type[Message], policy: Cors) -> bytes:
    """The part of a Route, or of a weighted cluster, with this policy."""
    return wire(kind, typed_per_filter_config={FILTER: packed(CorsPolicy, _policy(policy))})


def _policy(one: Cors) -> bytes:
    out = wire(
        CorsPolicy,
        allow_origin_string_match=[_origin(origin) for origin in one.allow_origins],
        max_age=str(one.max_age),
        forward_not_matching_preflights=FALSE,
    )
    if one.allow_credentials:
        out += wire(CorsPolicy, allow_credentials=TRUE)
    lists = {
        "allow_methods": one.allow_methods,
        "allow_headers": one.allow_headers,
        "expose_headers": one.expose_headers,
    }
    return out + wire(CorsPolicy, **{to: ", ".join(all_) for to, all_ in lists.items() if all_})


def _origin(text: str) -> bytes:
    if "*" in text:
        return wire(StringMatcher, safe_regex=wire(RegexMatcher, regex=origin_pattern(text)))
    return wire(StringMatcher, exact=text)
