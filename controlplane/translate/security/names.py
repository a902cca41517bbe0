"""What the parts of access control are called in Envoy.

A namespace has no dot, so no object can have such a name.
"""

from __future__ import annotations

EXT_AUTH = "weir.dev/ext-auth"
API_KEY_HASHES_OF_CLIENTS = "weir.dev/api-key-hashes-of-clients"
"""Of the filter that takes away what clients send in the place of a hash."""
API_KEY_HASHES = "weir.dev/api-key-hashes"
"""Of the filter that hashes what a request presents."""
API_KEYS = "weir.dev/api-keys"
"""Of the filter that compares hashes, and of its configuration."""
BASIC = "weir.dev/passwords"
OIDC = "envoy.filters.http.oauth2"
JWT = "weir.dev/jwt"
"""Of the filter, and of its configuration."""
RBAC = "envoy.filters.http.rbac"


def addresses(table: str) -> str:
    """The filter with the lists of client addresses of a route table, and its configuration."""
    return f"weir.dev/addresses/{table}"
