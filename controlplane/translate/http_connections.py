"""How HTTP is spoken with clients: the HTTP connection manager.

The settings follow Envoy's own advice for proxies that face strangers: the client's address from
the connection, normalised paths and hosts, no escaped slashes, no headers with underscores, bounded
streams and idle times. A ClientPolicy may say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutation,
    HeaderMutationRemoveOnMatch,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerSetCurrentClientCertDetails,
    HttpConnectionManagerUpgradeConfig,
    Rds,
)
from envoy_data_plane.envoy.extensions.http.original_ip_detection.custom_header.v3 import (
    CustomHeaderConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from controlplane.resources.client_http import (
    ClientHeaders,
    ClientIpDetection,
    CustomHeader,
    XForwardedClientCert,
)
from controlplane.resources.client_policy import ClientSettings
from controlplane.translate import geo_ip
from controlplane.translate.early_headers import early
from controlplane.translate.http_filters import http_filters
from controlplane.translate.ports import Table
from controlplane.translate.types import FROM_ADS, extension
from controlplane.translate.wire import TRUE, duration, number, packed, wire

_UNDERSCORES = {
    "Allow": HttpProtocolOptionsHeadersWithUnderscoresAction.ALLOW,
    "RejectRequest": HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
    "DropHeader": HttpProtocolOptionsHeadersWithUnderscoresAction.DROP_HEADER,
}
_SLASHES = {
    "KeepUnchanged": HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
    "RejectRequest": HttpConnectionManagerPathWithEscapedSlashesAction.REJECT_REQUEST,
    "UnescapeAndForward": HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD,
    "UnescapeAndRedirect": HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT,
}
_CERTIFICATES = {
    "Sanitize": HttpConnectionManagerForwardClientCertDetails.SANITIZE,
    "ForwardOnly": HttpConnectionManagerForwardClientCertDetails.FORWARD_ONLY,
    "AppendForward": HttpConnectionManagerForwardClientCertDetails.APPEND_FORWARD,
    "SanitizeSet": HttpConnectionManagerForwardClientCertDetails.SANITIZE_SET,
    "AlwaysForwardOnly": HttpConnectionManagerForwardClientCertDetails.ALWAYS_FORWARD_ONLY,
}
Transport = Literal["tcp", "quic"]
_CODECS: Mapping[Transport, HttpConnectionManagerCodecType] = {
    "tcp": HttpConnectionManagerCodecType.AUTO,
    "quic": HttpConnectionManagerCodecType.HTTP3,
}


def manager(
    table: Table,
    stat_prefix: str,
    access_log: Sequence[bytes],
    over: Transport,
    control_cluster: str,
) -> bytes:
    """The connection manager of a route table, over `tcp` or `quic`. `control_cluster` leads to
    Weir."""
    client = table.client
    websocket = wire(HttpConnectionManagerUpgradeConfig, upgrade_type="websocket")
    own = wire(
        HttpConnectionManager,
        codec_type=_CODECS[over],
        stat_prefix=stat_prefix,
        rds=wire(Rds, config_source=FROM_ADS, route_config_name=table.name),
        http_filters=http_filters(client, table.name, control_cluster),
        access_log=access_log,
        upgrade_configs=[websocket],
    )
    parts = (_protocols(client, table), _paths(client), _times(client), _headers(client.headers))
    address = _address(client.client_ip_detection)
    unbelieved = [*_claims(client), *geo_ip.unbelieved(client.geo_ip)]
    return own + b"".join(parts) + address + early(unbelieved)


def _protocols(client: ClientSettings, table: Table) -> bytes:
    common = wire(
        HttpProtocolOptions,
        idle_timeout=duration(client.timeout.http.idle_timeout),
        max_headers_count=number(client.headers.max_count),
        headers_with_underscores_action=_UNDERSCORES[client.headers.with_underscores_action],
    )
    http2 = wire(
        Http2ProtocolOptions,
        max_concurrent_streams=number(client.http2.max_concurrent_streams),
        initial_stream_window_size=number(client.http2.initial_stream_window_size),
        initial_connection_window_size=number(client.http2.initial_connection_window_size),
    )
    return wire(
        HttpConnectionManager,
        common_http_protocol_options=common,
        http_protocol_options=_http_1(client, table),
        http2_protocol_options=http2,
    )


def _http_1(client: ClientSettings, table: Table) -> bytes:
    if client.http1.http10 is None:
        return b""
    out = wire(Http1ProtocolOptions, accept_http_10=True)
    hosts = [one.hostname for one in table.listeners if one.hostname and "*" not in one.hostname]
    if client.http1.http10.use_default_host and hosts:
        out += wire(Http1ProtocolOptions, default_host_for_http_10=hosts[0])
    return out


def _paths(client: ClientSettings) -> bytes:
    """One way to write each address, so that policies and routes mean the same."""
    return wire(
        HttpConnectionManager,
        normalize_path=TRUE,
        merge_slashes=not client.path.disable_merge_slashes,
        path_with_escaped_slashes_action=_SLASHES[client.path.escaped_slashes_action],
        strip_trailing_host_dot=True,
    )


def _times(client: ClientSettings) -> bytes:
    said = client.timeout.http
    return wire(
        HttpConnectionManager,
        stream_idle_timeout=duration(said.stream_idle_timeout),
        request_headers_timeout=duration(said.request_headers_timeout),
        request_timeout=duration(said.request_received_timeout),
    )


def _headers(said: ClientHeaders) -> bytes:
    return wire(
        HttpConnectionManager,
        max_request_headers_kb=number(said.max_size // 1024),
        preserve_external_request_id=said.preserve_x_request_id,
    ) + _client_certificate(said.x_forwarded_client_cert)


def _client_certificate(said: XForwardedClientCert) -> bytes:
    out = wire(HttpConnectionManager, forward_client_cert_details=_CERTIFICATES[said.mode])
    if said.mode not in ("AppendForward", "SanitizeSet"):
        return out
    told = said.cert_details_to_add
    details = wire(
        HttpConnectionManagerSetCurrentClientCertDetails,
        cert="Cert" in told,
        chain="Chain" in told,
        dns="DNS" in told,
        uri="URI" in told,
    )
    if "Subject" in told:
        details += wire(HttpConnectionManagerSetCurrentClientCertDetails, subject=TRUE)
    return out + wire(HttpConnectionManager, set_current_client_cert_details=details)


def _address(said: ClientIpDetection | None) -> bytes:
    if said is not None and said.custom_header is not None:
        return _from_header(said.custom_header)
    out = wire(HttpConnectionManager, use_remote_address=TRUE)
    if said is not None and said.x_forwarded_for is not None:
        out += wire(
            HttpConnectionManager, xff_num_trusted_hops=said.x_forwarded_for.num_trusted_hops
        )
    return out


def _from_header(said: CustomHeader) -> bytes:
    detection = wire(
        CustomHeaderConfig, header_name=said.name, allow_extension_to_set_address_as_trusted=False
    )
    if said.fail_closed:
        detection += wire(
            CustomHeaderConfig, reject_with_status=wire(HttpStatus, code=StatusCode.Forbidden)
        )
    return wire(
        HttpConnectionManager,
        original_ip_detection_extensions=[
            extension(
                "envoy.http.original_ip_detection.custom_header",
                packed(CustomHeaderConfig, detection),
            )
        ],
    )


def _claims(client: ClientSettings) -> list[bytes]:
    """Takes away what strangers say in `x-envoy-*`. Where the address comes from a header Envoy
    does not know that strangers are in front of it, and would believe them."""
    said = client.client_ip_detection
    if said is None or said.custom_header is None:
        return []
    every = wire(StringMatcher, prefix="x-envoy-", ignore_case=True)
    match = wire(HeaderMutationRemoveOnMatch, key_matcher=every)
    return [wire(HeaderMutation, remove_on_match=match)]
