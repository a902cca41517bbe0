"""TLS with clients: a filter chain for each host name that they ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.config.listener.v3 import FilterChainMatch, ListenerFilter
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    TlsParameters,
    TlsParametersTlsProtocol,
)

from controlplane.resources.client_policy import ClientTls
from controlplane.resources.secret import Secret
from controlplane.translate.secrets import by_name
from controlplane.translate.wire import packed, wire

_VERSIONS = {"1.2": TlsParametersTlsProtocol.TLSv1_2, "1.3": TlsParametersTlsProtocol.TLSv1_3}


def inspector() -> bytes:
    """Reads which host name a client asks for."""
    return wire(
        ListenerFilter,
        name="envoy.filters.listener.tls_inspector",
        typed_config=packed(TlsInspector),
    )


HTTP = ("h2", "http/1.1")
"""Spoken with clients, the better first (ALPN)."""


def match(host: str | None) -> bytes:
    """Connections for a host name; without one, or for `*`, those that nobody else takes."""
    names = [host] if host and host != "*" else []
    return wire(FilterChainMatch, server_names=names)


def socket(certificates: Iterable[Secret], tls: ClientTls, protocols: Sequence[str]) -> bytes:
    """How TLS is ended for a listener, and what may be spoken in it (ALPN; nothing: not said)."""
    parameters = wire(
        TlsParameters,
        tls_minimum_protocol_version=_VERSIONS[tls.min_version],
        tls_maximum_protocol_version=_VERSIONS[tls.max_version],
        cipher_suites=tls.ciphers,
    )
    common = wire(
        CommonTlsContext,
        tls_params=parameters,
        alpn_protocols=protocols,
        tls_certificate_sds_secret_configs=[by_name(one.key) for one in certificates],
    )
    context = wire(DownstreamTlsContext, common_tls_context=common)
    return wire(
        TransportSocket,
        name="envoy.transport_sockets.tls",
        typed_config=packed(DownstreamTlsContext, context),
    )
