"""Listeners: one for each port of a Gateway, careful as an edge should be, routes over RDS.

The settings follow Envoy's own advice for proxies that face strangers: the client's address from
the connection, normalised paths, no escaped slashes, no headers with underscores, bounded buffers,
streams and idle times.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, RuntimeFilter
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    SocketAddress,
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
    HttpConnectionManagerCodecType,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerUpgradeConfig,
    Rds,
)
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType

from controlplane.resources.client_policy import ClientTls
from controlplane.resources.gateway import Gateway
from controlplane.translate import downstream_tls
from controlplane.translate.http_filters import http_filters
from controlplane.translate.options import TranslateOptions
from controlplane.translate.policies import Policies
from controlplane.translate.ports import Port
from controlplane.translate.runtime import ACCESS_LOG_SAMPLING, PER_PERCENT
from controlplane.translate.types import FROM_ADS
from controlplane.translate.wire import TRUE, duration, number, packed, wire

SILENT_PERCENT = 10
"""Requests logged when no runtime has come yet."""
LOG_NAME = "weir"


def listener(
    gateway: Gateway,
    port: Port,
    policies: Policies,
    options: TranslateOptions,
    managers: Mapping[str, bytes],
) -> bytes:
    """The Envoy listener of one port; `managers` is more for the connection manager of a table."""
    hosts = [address.value for address in gateway.spec.addresses] or ["0.0.0.0"]  # noqa: S104
    first, *more = [_address(host, port.number) for host in hosts]
    chains = []
    for table in port.tables:
        said = policies.of_listener(gateway, table.listeners[0])
        chain = wire(
            FilterChain, filters=[_manager(table.name, port, options, managers[table.name])]
        )
        if port.tls:
            chain += wire(
                FilterChain,
                name=table.listeners[0].name,
                filter_chain_match=downstream_tls.match(table.listeners[0]),
                transport_socket=downstream_tls.socket(table, said.tls if said else ClientTls()),
            )
        chains.append(chain)
    return wire(
        Listener,
        name=port.name,
        address=first,
        additional_addresses=[wire(AdditionalAddress, address=one) for one in more],
        per_connection_buffer_limit_bytes=number(32 * 1024),
        listener_filters=[downstream_tls.inspector()] if port.tls else [],
        filter_chains=chains,
    )


def _manager(table: str, port: Port, options: TranslateOptions, more: bytes) -> bytes:
    return wire(
        Filter,
        name="envoy.filters.network.http_connection_manager",
        typed_config=packed(HttpConnectionManager, _http(table, port, options) + more),
    )


def _address(host: str, port: int) -> bytes:
    return wire(Address, socket_address=wire(SocketAddress, address=host, port_value=port))


def _http(table: str, port: Port, options: TranslateOptions) -> bytes:
    websocket = wire(HttpConnectionManagerUpgradeConfig, upgrade_type="websocket")
    return wire(
        HttpConnectionManager,
        codec_type=HttpConnectionManagerCodecType.AUTO,
        stat_prefix=f"{'https' if port.tls else 'http'}-{port.number}",
        rds=wire(Rds, config_source=FROM_ADS, route_config_name=table),
        http_filters=http_filters(table),
        access_log=[_access_log(options.control_cluster)] if options.access_logs else [],
        use_remote_address=TRUE,
        normalize_path=TRUE,
        merge_slashes=True,
        path_with_escaped_slashes_action=(
            HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT
        ),
        common_http_protocol_options=wire(
            HttpProtocolOptions,
            idle_timeout=duration(3600),
            headers_with_underscores_action=(
                HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST
            ),
        ),
        http2_protocol_options=wire(
            Http2ProtocolOptions,
            max_concurrent_streams=number(100),
            initial_stream_window_size=number(64 * 1024),
            initial_connection_window_size=number(1024 * 1024),
        ),
        stream_idle_timeout=duration(300),
        request_headers_timeout=duration(60),
        upgrade_configs=[websocket],
    )


def _access_log(control_cluster: str) -> bytes:
    """Entries by gRPC, sampled by chance alone: a client cannot choose whether it is seen."""
    silent = wire(
        FractionalPercent,
        numerator=SILENT_PERCENT * PER_PERCENT,
        denominator=FractionalPercentDenominatorType.MILLION,
    )
    sampled = wire(
        RuntimeFilter,
        runtime_key=ACCESS_LOG_SAMPLING,
        percent_sampled=silent,
        use_independent_randomness=True,
    )
    common = wire(
        CommonGrpcAccessLogConfig,
        log_name=LOG_NAME,
        grpc_service=wire(
            GrpcService, envoy_grpc=wire(GrpcServiceEnvoyGrpc, cluster_name=control_cluster)
        ),
        transport_api_version=ApiVersion.V3,
        buffer_flush_interval=duration(0.2),
        buffer_size_bytes=number(8 * 1024),
    )
    return wire(
        AccessLog,
        name="envoy.access_loggers.http_grpc",
        filter=wire(AccessLogFilter, runtime_filter=sampled),
        typed_config=packed(
            HttpGrpcAccessLogConfig, wire(HttpGrpcAccessLogConfig, common_config=common)
        ),
    )
