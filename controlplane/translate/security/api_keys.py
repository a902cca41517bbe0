"""API keys: hashes of all policies of a Gateway in one filter, of which a route names one policy.

Envoy's filter compares what is presented as it is. So a script in front of it puts the SHA-256 of
the key that a request presents, behind a name for its policy, into a header that no client can
send, and Envoy's filter holds that against the hashes of the clients. The script knows none of
them. Where it fails, or is not there, there is no header, and the request is refused (401).

The hashes come over ECDS, once for all routes: a key that is new or gone changes no route. A route
that names hashes which are not there yet refuses (401).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from urllib.parse import quote

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.filters.http.api_key_auth.v3 import (
    ApiKeyAuth,
    ApiKeyAuthPerRoute,
    Credential,
    Forwarding,
    KeySource,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutationPerRoute,
    Mutations,
)
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua, LuaPerRoute
from envoy_data_plane.google.protobuf import Struct, Value

from controlplane.resources import api_key_auth as declared_auth
from controlplane.translate.security import names
from controlplane.translate.wire import FALSE, packed, wire

HASH = "x-weir-api-key"
"""The header between the two filters. The script has the same name for it."""
_SCRIPT = (files(__package__) / "api_keys.lua").read_text()


def unbelieved() -> bytes:
    """What a route says to the filter before these two. It takes the header away from what clients
    send: who has read a hash has no key by it. Not for the script to do, which may fail."""
    mutations = wire(Mutations, request_mutations=[wire(HeaderMutation, remove=HASH)])
    return packed(HeaderMutationPerRoute, wire(HeaderMutationPerRoute, mutations=mutations))


def hashing() -> bytes:
    """The configuration of the filter that hashes. The route stays chosen."""
    source = wire(DataSource, inline_string=_SCRIPT)
    lua = wire(Lua, default_source_code=source, stat_prefix="api_keys", clear_route_cache=FALSE)
    return packed(Lua, lua)


@dataclass(frozen=True, slots=True)
class Keys:
    """Whose keys a policy wants: what a route names, and what is behind the name.

    The name changes with the Secrets that a policy refers to, not with what they hold. So a route
    never meets the clients of other Secrets than those that it was made for, also where Envoy
    refuses the routes that come with these, and a key that is taken away is gone at once.
    """

    name: str
    credentials: Sequence[bytes] = field(repr=False)


def keys(policy: str, auth: declared_auth.ApiKeyAuth, found: Iterable[tuple[str, str]]) -> Keys:
    """Those of this policy, from clients and hashes."""
    held = repr(sorted({(ref.namespace or "", ref.name) for ref in auth.credential_refs}))
    version = hashlib.blake2b(held.encode(), digest_size=8).hexdigest()
    name = f"{policy}#{version}"
    return Keys(
        name, [wire(Credential, key=f"{name} {digest}", client=client) for client, digest in found]
    )


def filter_config(wanted: Iterable[Keys]) -> bytes:
    """The configuration of the filter that compares. Nothing needs a key until a route says so."""
    credentials = [credential for one in wanted for credential in one.credentials]
    return packed(ApiKeyAuth, wire(ApiKeyAuth, credentials=credentials))


def for_route(wanted: Keys, auth: declared_auth.ApiKeyAuth) -> dict[str, bytes]:
    """What a route says to each of these filters: one of these keys."""
    places = [
        f"{kind} {quote(name)}"
        for source in auth.extract_from
        for kind, group in (
            ("header", source.headers),
            ("param", source.params),
            ("cookie", source.cookies),
        )
        for name in group
    ]
    plan = "\n".join([wanted.name, "sanitize" if auth.sanitize else "keep", *places])
    context = wire(Struct, fields={"plan": wire(Value, string_value=plan)})
    hashes = wire(LuaPerRoute, filter_context=context)
    forwarding = wire(Forwarding, header=auth.forward_client_id_header or "", hide_credentials=True)
    compares = wire(
        ApiKeyAuthPerRoute, key_sources=[wire(KeySource, header=HASH)], forwarding=forwarding
    )
    return {
        names.API_KEY_HASHES_OF_CLIENTS: unbelieved(),
        names.API_KEY_HASHES: packed(LuaPerRoute, hashes),
        names.API_KEYS: packed(ApiKeyAuthPerRoute, compares),
    }
