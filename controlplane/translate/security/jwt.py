"""Tokens: the providers of a Gateway's policies in one filter, of which a route names one policy.

Routes cannot bring providers along, so these come over ECDS: listeners stay as they are. A route
that names a policy which is not there yet is refused (403), never let through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwksAsyncFetch,
    JwtAuthentication,
    JwtCacheConfig,
    JwtClaimToHeader,
    JwtHeader,
    JwtProvider,
    JwtProviderNormalizePayload,
    JwtRequirement,
    JwtRequirementOrList,
    PerRouteConfig,
    RemoteJwks,
)
from envoy_data_plane.envoy.type.matcher.v3 import (
    MetadataMatcher,
    MetadataMatcherPathSegment,
    ValueMatcher,
)
from envoy_data_plane.google.protobuf import Empty

from controlplane.resources import jwt as declared_jwt
from controlplane.translate.security.servers import http_uri
from controlplane.translate.wire import duration, packed, wire

METADATA = "envoy.filters.http.jwt_authn"
"""Where Envoy keeps what it read of tokens."""
_FETCH_S = 5.0
_CACHED_TOKENS = 1000
"""Of each provider and worker: a token that was good a moment ago is not verified again."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Whose tokens a policy wants: what a route names, and what is behind the name.

    The name changes with what is behind it. The filter comes before the routes, or without them
    where these are refused; a route goes on with the tokens that it was made for.
    """

    name: str
    requirement: bytes = field(repr=False)
    providers: Mapping[str, bytes] = field(repr=False)


def tokens(policy: str, jwt: declared_jwt.Jwt, key_sets: Sequence[str]) -> Tokens:
    """Those of this policy; of each provider the key set, where it is not fetched."""
    pairs = zip(jwt.providers, key_sets, strict=True)
    made = [(one.name, provider(policy, one, jwks)) for one, jwks in pairs]
    parts = repr((jwt.optional, made)).encode()
    version = hashlib.blake2b(parts, digest_size=8).hexdigest()
    providers = {f"{provider_name(policy, name)}#{version}": one for name, one in made}
    wanted = _requirement(providers, optional=jwt.optional)
    return Tokens(f"{policy}#{version}", wanted, providers)


def provider_name(policy: str, provider: str) -> str:
    """Of what is kept of the tokens of a provider."""
    return f"{policy}/{provider}"


def for_route(wanted: Tokens) -> bytes:
    """What a route says: these tokens."""
    return packed(PerRouteConfig, wire(PerRouteConfig, requirement_name=wanted.name))


def told_by(policy: str, jwt: declared_jwt.Jwt) -> dict[str, frozenset[str]]:
    """By header, what is kept of the tokens that set it."""
    found: dict[str, set[str]] = {}
    for one in jwt.providers:
        for to in one.claim_to_headers:
            found.setdefault(to.header.lower(), set()).add(provider_name(policy, one.name))
    return {header: frozenset(names) for header, names in found.items()}


def proof(payload: str) -> bytes:
    """The part of a RouteMatch: there was such a token. Envoy chooses a route before it looks at
    tokens, and what a client says in a header would choose it."""
    wanted = wire(
        MetadataMatcher,
        filter=METADATA,
        path=[wire(MetadataMatcherPathSegment, key=payload)],
        value=wire(ValueMatcher, present_match=True),
    )
    return wire(RouteMatch, dynamic_metadata=[wanted])


def filter_config(providers: Mapping[str, bytes], requirements: Mapping[str, bytes]) -> bytes:
    """The configuration of the filter, an `Any`. Nothing needs a token until a route says so."""
    return packed(
        JwtAuthentication,
        wire(
            JwtAuthentication,
            providers=dict(sorted(providers.items())),
            requirement_map=dict(sorted(requirements.items())),
        ),
    )


def _requirement(providers: Iterable[str], *, optional: bool) -> bytes:
    """A token of one of the providers, or none where that is enough."""
    any_ = [wire(JwtRequirement, provider_name=one) for one in providers]
    if optional:
        any_.append(wire(JwtRequirement, allow_missing=wire(Empty)))
    if len(any_) == 1:
        return any_[0]
    return wire(JwtRequirement, requires_any=wire(JwtRequirementOrList, requirements=any_))


def provider(policy: str, one: declared_jwt.JwtProvider, jwks: str) -> bytes:
    """Somebody whose tokens are believed; `jwks` is its key set, where it is not fetched."""
    return (
        wire(
            JwtProvider,
            issuer=one.issuer,
            audiences=one.audiences,
            forward=True,
            payload_in_metadata=provider_name(policy, one.name),
            normalize_payload_in_metadata=wire(
                JwtProviderNormalizePayload, space_delimited_claims=["scope"]
            ),
            jwt_cache_config=wire(JwtCacheConfig, jwt_cache_size=_CACHED_TOKENS),
            claim_to_headers=[
                wire(JwtClaimToHeader, header_name=to.header, claim_name=to.claim)
                for to in one.claim_to_headers
            ],
            require_expiration=True,
            clear_route_cache=one.recompute_route,
        )
        + _keys(one.remote_jwks, jwks)
        + _places(one.extract_from)
    )


def _keys(remote: declared_jwt.RemoteJwks | None, jwks: str) -> bytes:
    if remote is None:
        return wire(JwtProvider, local_jwks=wire(DataSource, inline_string=jwks))
    fetched = wire(
        RemoteJwks,
        http_uri=http_uri(remote.uri, _FETCH_S),
        cache_duration=duration(remote.cache_duration),
        async_fetch=wire(JwksAsyncFetch, fast_listener=True),
    )
    return wire(JwtProvider, remote_jwks=fetched)


def _places(places: declared_jwt.JwtExtractFrom | None) -> bytes:
    if places is None:
        return b""
    headers = [
        wire(JwtHeader, name=one.name, value_prefix=one.value_prefix) for one in places.headers
    ]
    return wire(
        JwtProvider,
        from_headers=headers,
        from_cookies=places.cookies,
        from_params=places.params,
    )
