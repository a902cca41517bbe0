"""Connections of clients before HTTP: who they say they are for, and how many there may be."""

from __future__ import annotations

from envoy_data_plane.envoy.config.listener.v3 import Filter, ListenerFilter
from envoy_data_plane.envoy.extensions.filters.listener.proxy_protocol.v3 import (
    ProxyProtocol as EnvoyProxyProtocol,
)
from envoy_data_plane.envoy.extensions.filters.network.connection_limit.v3 import (
    ConnectionLimit as EnvoyConnectionLimit,
)
from envoy_data_plane.google.protobuf import UInt64Value

from controlplane.resources.client_connection import ConnectionLimit, ProxyProtocol
from controlplane.translate.wire import duration, packed, wire


def proxy_protocol(said: ProxyProtocol | None) -> bytes:
    """Reads the client's address before anything else is read; empty where it is not spoken."""
    if said is None:
        return b""
    config = wire(EnvoyProxyProtocol, allow_requests_without_proxy_protocol=said.optional)
    return wire(
        ListenerFilter,
        name="envoy.filters.listener.proxy_protocol",
        typed_config=packed(EnvoyProxyProtocol, config),
    )


def limit(said: ConnectionLimit | None, stat_prefix: str) -> list[bytes]:
    """Closes connections beyond the limit of a filter chain, in one Envoy."""
    if said is None:
        return []
    config = wire(
        EnvoyConnectionLimit,
        stat_prefix=stat_prefix,
        max_connections=wire(UInt64Value, value=said.value),
    )
    if said.close_delay:
        config += wire(EnvoyConnectionLimit, delay=duration(said.close_delay))
    return [
        wire(
            Filter,
            name="envoy.filters.network.connection_limit",
            typed_config=packed(EnvoyConnectionLimit, config),
        )
    ]
