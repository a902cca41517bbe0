"""The filters of access control in every listener, in their order.

All but one are switched off until a route switches them on. The lists of client addresses hold for
every request of a listener; where there are none, a chain without filters stands for them. These,
the providers of tokens and the hashes of API keys come over ECDS, so that they change without the
listener; until they have come, a listener does not open.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import ExtensionConfigSource
from envoy_data_plane.envoy.extensions.filters.http.api_key_auth.v3 import ApiKeyAuth
from envoy_data_plane.envoy.extensions.filters.http.filter_chain.v3 import FilterChainConfig
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import JwtAuthentication
from envoy_data_plane.envoy.extensions.filters.http.oauth2.v3 import OAuth2
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.message_pool import default_message_pool

from controlplane.resources.authorization import ClientAddresses
from controlplane.translate.security import Secured, api_keys, authorization, delegation, jwt, names
from controlplane.translate.types import FROM_ADS, extension
from controlplane.translate.wire import packed, wire


def before_cors(table: str) -> list[bytes]:
    """Who may not come at all is not answered any question."""
    name = names.addresses(table)
    return [wire(HttpFilter, name=name, config_discovery=_discovered(Rbac, FilterChainConfig))]


def after_cors() -> list[bytes]:
    """Who sends the request, and whether they may."""
    return [
        _off(names.EXT_AUTH, delegation.empty()),
        _off(names.API_KEY_HASHES_OF_CLIENTS, packed(HeaderMutation)),
        _off(names.API_KEY_HASHES, api_keys.hashing()),
        _discovered_off(names.API_KEYS, ApiKeyAuth),
        _off(names.BASIC, delegation.empty()),
        _off(names.OIDC, packed(OAuth2)),
        _discovered_off(names.JWT, JwtAuthentication),
        _off(names.RBAC, packed(Rbac)),
    ]


def extensions(
    secured: Sequence[Secured], addresses: dict[str, tuple[ClientAddresses, ...]]
) -> dict[str, bytes]:
    """What comes over ECDS: the providers of tokens and the hashes of API keys of these policies,
    the lists of each route table."""
    wanted = [one.tokens for one in secured if one.tokens is not None]
    providers = {name: one for each in wanted for name, one in each.providers.items()}
    requirements = {one.name: one.requirement for one in wanted}
    found = {
        names.JWT: jwt.filter_config(providers, requirements),
        names.API_KEYS: api_keys.filter_config(one.keys for one in secured if one.keys is not None),
    }
    for table, lists in addresses.items():
        found[names.addresses(table)] = authorization.for_addresses(lists)
    return {name: extension(name, config) for name, config in found.items()}


def _off(name: str, config: bytes) -> bytes:
    return wire(HttpFilter, name=name, typed_config=config, disabled=True)


def _discovered_off(name: str, kind: type) -> bytes:
    return wire(HttpFilter, name=name, config_discovery=_discovered(kind), disabled=True)


def _discovered(*kinds: type) -> bytes:
    urls = [default_message_pool.type_to_url[kind] for kind in kinds]
    return wire(ExtensionConfigSource, config_source=FROM_ADS, type_urls=urls)
