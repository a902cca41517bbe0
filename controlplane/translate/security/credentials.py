"""API keys, and names with passwords.

Envoy compares API keys as they are, so it is given them as they are; of passwords it is given
hashes. Both stand in the configuration of routes: these filters cannot fetch secrets by name.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.filters.http.api_key_auth.v3 import (
    ApiKeyAuthPerRoute,
    Credential,
    Forwarding,
    KeySource,
)
from envoy_data_plane.envoy.extensions.filters.http.basic_auth.v3 import BasicAuth

from controlplane.resources import api_key_auth as declared_auth
from controlplane.translate.security.delegation import brought
from controlplane.translate.wire import packed, wire


def api_keys(auth: declared_auth.ApiKeyAuth, keys: tuple[tuple[str, bytes], ...]) -> bytes:
    """For a route: a key of one of these clients."""
    sources = [
        wire(KeySource, **{kind: name})
        for source in auth.extract_from
        for kind, names in (
            ("header", source.headers),
            ("query", source.params),
            ("cookie", source.cookies),
        )
        for name in names
    ]
    forwarding = wire(
        Forwarding,
        header=auth.forward_client_id_header or "",
        hide_credentials=auth.sanitize,
    )
    made = wire(
        ApiKeyAuthPerRoute,
        credentials=[wire(Credential, key=key.decode(), client=client) for client, key in keys],
        key_sources=sources,
        forwarding=forwarding,
    )
    return packed(ApiKeyAuthPerRoute, made)


def basic(auth: declared_auth.BasicAuth, users: bytes) -> bytes:
    """For a route: one of these names with its password."""
    made = wire(
        BasicAuth,
        users=wire(DataSource, inline_bytes=users),
        forward_username_header=auth.forward_username_header or "",
    )
    return brought("envoy.filters.http.basic_auth", packed(BasicAuth, made))
