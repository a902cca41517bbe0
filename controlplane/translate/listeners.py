"""Listeners: one for each port of a Gateway, careful as an edge should be, routes over RDS.

The settings follow Envoy's own advice for proxies that face strangers: the client's address from
the connection, normalised paths, no escaped slashes, no headers with underscores, bounded buffers,
streams and idle times.
"""

from __future__ import annotations

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
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.http.stateful_session.v3 import StatefulSession
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    Rds,
)
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType

from controlplane.resources.gateway import Gateway
from controlplane.translate import cors, sessions
from controlplane.translate.options import TranslateOptions
from controlplane.translate.runtime import ACCESS_LOG_SAMPLING, PER_PERCENT
from controlplane.translate.types import FROM_ADS
from controlplane.translate.wire import TRUE, duration, number, packed, wire

SILENT_PERCENT = 10
"""Requests logged when no runtime has come yet."""
LOG_NAME = "weir"


def ports(gateway: Gateway) -> list[int]:
    """The ports that the Gateway listens on."""
    return sorted({listener.port for listener in gateway.spec.listeners})


def port_name(gateway: Gateway, port: int) -> str:
    """The name of the Envoy listener of a port, and of its route table."""
    return f"{gateway.key}/http-{port}"


def listener(gateway: Gateway, port: int, options: TranslateOptions) -> bytes:
    """The Envoy listener of one port."""
    hosts = [address.value for address in gateway.spec.addresses] or ["0.0.0.0"]  # noqa: S104
    first, *more = [_address(host, port) for host in hosts]
    name = port_name(gateway, port)
    http = wire(
        Filter,
        name="envoy.filters.network.http_connection_manager",
        typed_config=packed(HttpConnectionManager, _http(name, port, options)),
    )
    return wire(
        Listener,
        name=name,
        address=first,
        additional_addresses=[wire(AdditionalAddress, address=one) for one in more],
        per_connection_buffer_limit_bytes=number(32 * 1024),
        filter_chains=[wire(FilterChain, filters=[http])],
    )


def _address(host: str, port: int) -> bytes:
    return wire(Address, socket_address=wire(SocketAddress, address=host, port_value=port))


def _http(name: str, port: int, options: TranslateOptions) -> bytes:
    filters = [
        _switched_off(cors.FILTER, packed(Cors)),
        _switched_off(sessions.FILTER, packed(StatefulSession)),
        wire(HttpFilter, name="envoy.filters.http.router", typed_config=packed(Router)),
    ]
    websocket = wire(HttpConnectionManagerUpgradeConfig, upgrade_type="websocket")
    return wire(
        HttpConnectionManager,
        codec_type=HttpConnectionManagerCodecType.AUTO,
        stat_prefix=f"http-{port}",
        rds=wire(Rds, config_source=FROM_ADS, route_config_name=name),
        http_filters=filters,
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


def _switched_off(name: str, config: bytes) -> bytes:
    """A filter that costs nothing until a route switches it on: listeners stay as they are."""
    return wire(HttpFilter, name=name, typed_config=config, disabled=True)


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
