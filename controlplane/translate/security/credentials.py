"""Names with passwords. Envoy is given hashes, which stand in the configuration of routes: this
filter cannot fetch secrets by name.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.filters.http.basic_auth.v3 import BasicAuth

from controlplane.resources import api_key_auth as declared_auth
from controlplane.translate.security.delegation import brought
from controlplane.translate.wire import packed, wire


def basic(auth: declared_auth.BasicAuth, users: bytes) -> bytes:
    """For a route: one of these names with its password."""
    made = wire(
        BasicAuth,
        users=wire(DataSource, inline_bytes=users),
        forward_username_header=auth.forward_username_header or "",
    )
    return brought("envoy.filters.http.basic_auth", packed(BasicAuth, made))
