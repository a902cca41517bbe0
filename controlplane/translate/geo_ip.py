"""Where clients are, as headers, before a route is chosen.

The filter has its databases at the listener, and no configuration for a route; so it stands only
where a ClientPolicy wants it, and one that comes or goes changes listeners. It does not have Envoy
choose the route again, so a filter behind it does.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.extensions.filters.http.geoip.v3 import Geoip
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import Config
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.geoip_providers.common.v3 import (
    CommonGeoipProviderConfig,
    CommonGeoipProviderConfigGeolocationFieldKeys,
)
from envoy_data_plane.envoy.extensions.geoip_providers.maxmind.v3 import MaxMindConfig

from controlplane.resources.geo_ip import GeoIp
from controlplane.translate.types import extension
from controlplane.translate.wire import packed, wire

FILTER = "envoy.filters.http.geoip"
_AGAIN = "weir.dev/choose-again"


def filters(one: GeoIp | None) -> list[bytes]:
    """The first HTTP filters of a listener."""
    if one is None:
        return []
    again = packed(Config, wire(Config, clear_route_cache=True))
    provider = extension("envoy.geoip_providers.maxmind", packed(MaxMindConfig, _databases(one)))
    return [
        wire(HttpFilter, name=FILTER, typed_config=packed(Geoip, wire(Geoip, provider=provider))),
        wire(HttpFilter, name=_AGAIN, typed_config=again),
    ]


def unbelieved(one: GeoIp | None) -> list[bytes]:
    """Takes away what clients say of where they are."""
    names = one.headers.given.values() if one is not None else ()
    return [wire(HeaderMutation, remove=name) for name in names]


def _databases(one: GeoIp) -> bytes:
    keys = wire(CommonGeoipProviderConfigGeolocationFieldKeys, **one.headers.given)
    paths = {
        "city_db_path": one.city_database,
        "country_db_path": one.country_database,
        "asn_db_path": one.asn_database,
    }
    given = {field: path for field, path in paths.items() if path is not None}
    common = wire(CommonGeoipProviderConfig, geo_field_keys=keys)
    return wire(MaxMindConfig, common_provider_config=common, **given)
