"""Listeners: one for each port of a Gateway, another where it speaks HTTP/3; routes over RDS.

Buffers, handshakes and connections are bounded, see `http_connections` for the rest of the care
that an edge takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    SocketAddress,
    SocketAddressProtocol,
)
from envoy_data_plane.envoy.config.listener.v3 import (
    AdditionalAddress,
    Filter,
    FilterChain,
    Listener,
)
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
)

from controlplane.resources.gateway import Gateway
from controlplane.translate import client_connections, datagrams, downstream_tls, http3, streams
from controlplane.translate.http_connections import Transport, manager
from controlplane.translate.options import TranslateOptions
from controlplane.translate.ports import Port, Table
from controlplane.translate.runtime import ACCESS_LOG_SAMPLING
from controlplane.translate.sessions import sticky_tag
from controlplane.translate.shares import logged
from controlplane.translate.streams import NOWHERE, Destination, Host
from controlplane.translate.wire import duration, number, packed, wire

SILENT_PERCENT = 10
"""Requests logged when no runtime has come yet."""
LOG_NAME = "weir"
_EVERY = "0.0.0.0"  # noqa: S104


def listeners(
    gateway: Gateway,
    port: Port,
    options: TranslateOptions,
    destinations: Mapping[Host, Destination] = NOWHERE,
) -> dict[str, bytes]:
    """The Envoy listeners of one port by name: over TCP, and over QUIC where HTTP/3 is spoken; or
    over UDP."""
    if port.of_udp:
        address = _addresses(gateway, port.number, SocketAddressProtocol.UDP)
        return {port.name: datagrams.listener(port, destinations) + address}
    found = {port.name: _listener(gateway, port, options, destinations)}
    by_quic = [table for table in port.tables if http3.spoken(table)]
    if by_quic:
        name = f"{port.name}/quic"
        found[name] = _quic_listener(gateway, port, name, by_quic, options)
    return found


def _listener(
    gateway: Gateway,
    port: Port,
    options: TranslateOptions,
    destinations: Mapping[Host, Destination],
) -> bytes:
    handshake = duration(port.client.timeout.tcp.handshake_timeout)
    chains = []
    for table in port.tables:
        chain = _chain(table, port, options, "tcp")
        if port.tls:
            chain += wire(
                FilterChain,
                filter_chain_match=downstream_tls.match(table.listeners[0].hostname),
                transport_socket=downstream_tls.socket(table, table.client.tls.alpn_protocols),
                transport_socket_connect_timeout=handshake,
            )
        chains.append(chain)
    for passage in port.passages:
        chains += streams.chains(port, passage, destinations)
    before = [client_connections.proxy_protocol(port.client.proxy_protocol)]
    if port.tls:
        before.append(downstream_tls.inspector())
    return wire(
        Listener,
        name=port.name,
        per_connection_buffer_limit_bytes=number(port.client.connection.buffer_limit),
        listener_filters=[one for one in before if one],
        listener_filters_timeout=handshake,
        filter_chains=chains,
    ) + _addresses(gateway, port.number, SocketAddressProtocol.TCP)


def _quic_listener(
    gateway: Gateway, port: Port, name: str, tables: Sequence[Table], options: TranslateOptions
) -> bytes:
    chains = [
        _chain(table, port, options, "quic")
        + wire(
            FilterChain,
            filter_chain_match=downstream_tls.match(table.listeners[0].hostname),
            transport_socket=http3.socket(table),
        )
        for table in tables
    ]
    return wire(
        Listener,
        name=name,
        per_connection_buffer_limit_bytes=number(port.client.connection.buffer_limit),
        udp_listener_config=http3.udp(),
        filter_chains=chains,
    ) + _addresses(gateway, port.number, SocketAddressProtocol.UDP)


def _chain(table: Table, port: Port, options: TranslateOptions, over: Transport) -> bytes:
    stats = f"{'https' if port.tls else 'http'}-{port.number}"
    logs = [_access_log(options.control_cluster)] if options.access_logs else []
    managed = manager(table, stats, logs, over, options.control_cluster)
    http = wire(
        Filter,
        name="envoy.filters.network.http_connection_manager",
        typed_config=packed(HttpConnectionManager, managed + table.more),
    )
    limit = client_connections.limit(table.client.connection.connection_limit, stats)
    name = table.listeners[0].name if port.tls else ""
    return wire(FilterChain, name=name, filters=[*limit, http])


def _addresses(gateway: Gateway, port: int, protocol: SocketAddressProtocol) -> bytes:
    said = [address.value or _EVERY for address in gateway.spec.addresses] or [_EVERY]
    first, *more = [_address(host, port, protocol) for host in dict.fromkeys(said)]
    return wire(
        Listener,
        address=first,
        additional_addresses=[wire(AdditionalAddress, address=one) for one in more],
    )


def _address(host: str, port: int, protocol: SocketAddressProtocol) -> bytes:
    return wire(
        Address,
        socket_address=wire(SocketAddress, protocol=protocol, address=host, port_value=port),
    )


def _access_log(control_cluster: str) -> bytes:
    """Entries by gRPC, of as many requests as the runtime says."""
    common = wire(
        CommonGrpcAccessLogConfig,
        log_name=LOG_NAME,
        grpc_service=wire(
            GrpcService, envoy_grpc=wire(GrpcServiceEnvoyGrpc, cluster_name=control_cluster)
        ),
        transport_api_version=ApiVersion.V3,
        buffer_flush_interval=duration(0.2),
        buffer_size_bytes=number(8 * 1024),
        custom_tags=[sticky_tag()],
    )
    return wire(
        AccessLog,
        name="envoy.access_loggers.http_grpc",
        filter=logged(ACCESS_LOG_SAMPLING, SILENT_PERCENT),
        typed_config=packed(
            HttpGrpcAccessLogConfig, wire(HttpGrpcAccessLogConfig, common_config=common)
        ),
    )
