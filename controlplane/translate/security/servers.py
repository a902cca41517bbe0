"""Clusters of servers that Envoy itself asks by address: for keys, for tokens."""

from __future__ import annotations

import ipaddress

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    HttpUri,
    SocketAddress,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from controlplane.resources.uris import Server, server_of
from controlplane.translate.options import TranslateOptions
from controlplane.translate.wire import duration, number, packed, wire


def name_of(uri: str) -> str:
    """The cluster of a server. No object can have this name: a namespace has no dot."""
    server = server_of(uri)
    return f"weir.dev/server/{server.scheme}/{server.host}:{server.port}"


def http_uri(uri: str, timeout_s: float) -> bytes:
    """How Envoy asks it."""
    return wire(HttpUri, uri=uri, cluster=name_of(uri), timeout=duration(timeout_s))


def cluster(uri: str, options: TranslateOptions) -> bytes:
    """The cluster of a server: found by DNS again and again, over TLS where the scheme says so."""
    server, name = server_of(uri), name_of(uri)
    address = wire(SocketAddress, address=server.host, port_value=server.port)
    at = wire(Endpoint, address=wire(Address, socket_address=address))
    assignment = wire(
        ClusterLoadAssignment,
        cluster_name=name,
        endpoints=[wire(LocalityLbEndpoints, lb_endpoints=[wire(LbEndpoint, endpoint=at)])],
    )
    made = wire(
        Cluster,
        name=name,
        type=ClusterDiscoveryType.STRICT_DNS,
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=duration(2),
        per_connection_buffer_limit_bytes=number(32 * 1024),
        load_assignment=assignment,
    )
    if server.scheme == "https":
        made += wire(Cluster, transport_socket=_tls(server, options.system_ca))
    return made


def _tls(server: Server, ca: str) -> bytes:
    is_ip = _is_ip(server.host)
    kind = SubjectAltNameMatcherSanType
    san = wire(
        SubjectAltNameMatcher,
        san_type=kind.IP_ADDRESS if is_ip else kind.DNS,
        matcher=wire(StringMatcher, exact=server.host),
    )
    validation = wire(
        CertificateValidationContext,
        trusted_ca=wire(DataSource, filename=ca),
        match_typed_subject_alt_names=[san],
    )
    context = wire(
        UpstreamTlsContext,
        common_tls_context=wire(CommonTlsContext, validation_context=validation),
        sni="" if is_ip else server.host,
    )
    return wire(
        TransportSocket,
        name="envoy.transport_sockets.tls",
        typed_config=packed(UpstreamTlsContext, context),
    )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
