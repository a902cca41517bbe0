"""What `SecurityPolicy` comes to in Envoy.

`Securing` looks at each policy. What it says of requests is a part of their routes, so that it is
in force, or not, together with them. The rest are things that the routes name: providers of tokens
and hashes of API keys (ECDS), secrets (SDS), clusters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from envoy_data_plane.envoy.config.route.v3 import Route

from controlplane.resources.declared import Declared
from controlplane.resources.security_policy import SecurityPolicy, SecurityPolicySpec
from controlplane.resources.security_refs import Found, found_by
from controlplane.translate import cors
from controlplane.translate.options import TranslateOptions
from controlplane.translate.security import (
    api_keys,
    authorization,
    credentials,
    ext_auth,
    jwt,
    names,
    oidc,
    servers,
)
from controlplane.translate.wire import wire


@dataclass(frozen=True, slots=True)
class Secured:
    """One policy in Envoy's terms. Two are equal where their routes are."""

    policy: str
    """Its `namespace/name`."""
    route: bytes | None = field(repr=False)
    """The part of a Route; None: it cannot be kept, so its requests are refused."""
    tokens: jwt.Tokens | None = field(default=None, compare=False)
    """Which are wanted, where some are."""
    keys: api_keys.Keys | None = field(default=None, compare=False)
    """Of clients, where some are wanted."""
    secrets: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    clusters: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """Those of servers that stand in the policy by address."""
    backend: str = field(default="", compare=False)
    """A Backend that it asks."""
    identifies: bool = False
    """Clients say who they are."""
    told_by: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """See `jwt.told_by`."""
    over_http_2: bool = field(default=False, compare=False)
    """It is asked over HTTP/2."""

    @property
    def asks(self) -> bool:
        """Whether its routes name something that comes over ECDS."""
        return self.tokens is not None or self.keys is not None

    def proofs(self, headers: Iterable[str]) -> list[bytes]:
        """Parts of a RouteMatch, of which one must hold where a route asks for these headers."""
        asked = [self.told_by[one] for one in headers if one in self.told_by]
        if not asked:
            return [b""]
        together = frozenset.intersection(*asked)  # they come of one token
        return [jwt.proof(one) for one in sorted(together or frozenset.union(*asked))]


class Securing:
    """Makes them; what a policy comes to is kept as long as it and what it refers to are."""

    def __init__(self, options: TranslateOptions) -> None:
        self._options = options
        self._kept: dict[str, tuple[SecurityPolicy, Found, Secured]] = {}

    def all(
        self, declared: Declared, policies: Iterable[SecurityPolicy], known: Collection[str]
    ) -> Mapping[str, Secured]:
        """These policies, by `namespace/name`. `known` are the Backends whose endpoints are known:
        a policy that asks another cannot be kept."""
        made = {one.key: self._one(one, found_by(declared, one)) for one in policies}
        self._kept = made
        return {
            key: secured if not secured.backend or secured.backend in known else Secured(key, None)
            for key, (_, _, secured) in made.items()
        }

    def _one(self, policy: SecurityPolicy, found: Found) -> tuple[SecurityPolicy, Found, Secured]:
        kept = self._kept.get(policy.key)
        if kept is not None and kept[0] is policy and kept[1] == found:
            return kept
        return policy, found, secure(policy, found, self._options)


def let_go(before: Iterable[Secured], now: Collection[Secured]) -> list[Secured]:
    """What routes of before may still ask for and is not there now."""
    tokens = {one.tokens.name for one in now if one.tokens is not None}
    keys = {one.keys.name for one in now if one.keys is not None}
    return [_gone(one, tokens, keys) for one in before]


def _gone(before: Secured, tokens: Collection[str], keys: Collection[str]) -> Secured:
    gone = Secured(before.policy, None)
    if before.tokens is not None and before.tokens.name not in tokens:
        gone = replace(gone, tokens=before.tokens, clusters=before.clusters)
    if before.keys is not None and before.keys.name not in keys:
        gone = replace(gone, keys=before.keys)
    return gone


def secure(policy: SecurityPolicy, found: Found, options: TranslateOptions) -> Secured:
    """This policy, with what was found of what it refers to."""
    spec = policy.spec
    if found.faults:
        return Secured(policy.key, None)
    uris = _uris(spec)
    tokens = jwt.tokens(policy.key, spec.jwt, found.jwks) if spec.jwt else None
    wanted = spec.api_key_auth
    keys = api_keys.keys(policy.key, wanted, found.keys) if wanted else None
    return Secured(
        policy.key,
        _route(policy.key, spec, found, tokens, keys),
        tokens=tokens,
        keys=keys,
        secrets=oidc.secrets(policy.key, found.client_secret) if spec.oidc else {},
        clusters={servers.name_of(uri): servers.cluster(uri, options) for uri in uris},
        backend=found.ext_auth,
        identifies=spec.identifies,
        told_by=jwt.told_by(policy.key, spec.jwt) if spec.jwt else {},
        over_http_2=spec.ext_auth is not None and spec.ext_auth.grpc is not None,
    )


def _route(
    policy: str,
    spec: SecurityPolicySpec,
    found: Found,
    tokens: jwt.Tokens | None,
    keys: api_keys.Keys | None,
) -> bytes:
    filters: dict[str, bytes] = {}
    if spec.ext_auth:
        filters[names.EXT_AUTH] = ext_auth.for_route(spec.ext_auth, found.ext_auth)
    if spec.api_key_auth and keys is not None:
        filters |= api_keys.for_route(keys, spec.api_key_auth)
    if spec.basic_auth:
        filters[names.BASIC] = credentials.basic(spec.basic_auth, found.users)
    if spec.oidc:
        filters[names.OIDC] = oidc.for_route(policy, spec.oidc)
    if tokens is not None:
        filters[names.JWT] = jwt.for_route(tokens)
    if spec.authorization:
        filters[names.RBAC] = authorization.for_route(policy, spec.authorization)
    allowed = cors.policy_for(Route, spec.cors) if spec.cors else b""
    return allowed + wire(Route, typed_per_filter_config=filters)


def _uris(spec: SecurityPolicySpec) -> list[str]:
    providers = spec.jwt.providers if spec.jwt else ()
    found = [one.remote_jwks.uri for one in providers if one.remote_jwks]
    return [*found, spec.oidc.provider.token_endpoint] if spec.oidc else found
