"""HTTP/3: a listener over QUIC beside that of TCP, and what tells browsers of it."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    TransportSocket,
)
from envoy_data_plane.envoy.config.listener.v3 import QuicProtocolOptions, UdpListenerConfig
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.transport_sockets.quic.v3 import QuicDownstreamTransport

from controlplane.translate import downstream_tls
from controlplane.translate.ports import Table
from controlplane.translate.wire import packed, wire

_BELIEVED_S = 86_400
"""How long a browser remembers that HTTP/3 is spoken."""


def spoken(table: Table) -> bool:
    """Whether a table is served over QUIC too."""
    return bool(table.certificates) and table.client.http3 is not None


def udp() -> bytes:
    """What makes a listener one of QUIC."""
    return wire(UdpListenerConfig, quic_options=wire(QuicProtocolOptions))


def socket(table: Table) -> bytes:
    """How TLS within QUIC is ended for a listener."""
    return wire(
        TransportSocket,
        name="envoy.transport_sockets.quic",
        typed_config=packed(
            QuicDownstreamTransport,
            wire(QuicDownstreamTransport, downstream_tls_context=downstream_tls.context(table)),
        ),
    )


def told(table: Table) -> bytes:
    """The part of a route table that tells who came over TCP."""
    if not spoken(table):
        return b""
    header = wire(
        HeaderValue, key="alt-svc", value=f'h3=":{table.listeners[0].port}"; ma={_BELIEVED_S}'
    )
    option = wire(
        HeaderValueOption,
        header=header,
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return wire(RouteConfiguration, response_headers_to_add=[option])
