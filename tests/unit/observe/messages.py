"""Serialised telemetry as Envoy sends it, written with the complete classes of its API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterStats,
    EndpointLoadMetricStats,
    UpstreamEndpointStats,
    UpstreamLocalityStats,
)
from envoy_data_plane.envoy.data.accesslog.v3 import (
    AccessLogCommon,
    HttpAccessLogEntry,
    HttpRequestProperties,
    HttpResponseProperties,
    ResponseFlags,
)
from envoy_data_plane.envoy.service.accesslog.v3 import (
    StreamAccessLogsMessage,
    StreamAccessLogsMessageHttpAccessLogEntries,
)
from envoy_data_plane.envoy.service.load_stats.v3 import LoadStatsRequest

from controlplane.model import Endpoint, Proxy, ProxyId, Service, ServiceName

PROXY = Proxy(ProxyId("envoy-1"), "fleet")


def proxy(number: int, workers: int = 1) -> Proxy:
    return Proxy(ProxyId(f"envoy-{number}"), "fleet", workers)


def service(name: str = "default/web", endpoints: int = 2, first: int = 1) -> Service:
    return Service(
        ServiceName(name),
        tuple(Endpoint(f"10.0.0.{first + i}", 8080) for i in range(endpoints)),
    )


def address(host: str, port: int = 8080) -> Address:
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def entry(
    host: str = "10.0.0.1",
    *,
    cluster: str = "default/web",
    code: int = 200,
    sent_ms: float = 1.0,
    first_sent_ms: float | None = None,
    received_ms: float = 51.0,
    flags: Mapping[str, Any] | None = None,
    common: Mapping[str, Any] | None = None,
) -> HttpAccessLogEntry:
    first_ms = sent_ms if first_sent_ms is None else first_sent_ms
    properties: dict[str, Any] = {
        "upstream_remote_address": address(host),
        "upstream_cluster": cluster,
        "downstream_remote_address": address("192.0.2.7", 40_000),
        "time_to_last_rx_byte": timedelta(microseconds=40),
        "time_to_first_upstream_tx_byte": timedelta(milliseconds=first_ms),
        "time_to_last_upstream_tx_byte": timedelta(milliseconds=sent_ms),
        "time_to_first_upstream_rx_byte": timedelta(milliseconds=received_ms - 0.5),
        "time_to_last_upstream_rx_byte": timedelta(milliseconds=received_ms),
        "duration": timedelta(milliseconds=received_ms + 0.2),
        "response_flags": ResponseFlags(**flags) if flags else None,
        "stream_id": "4ecaa715-7d5e-42fa-9678-58b3e2dc1976",
        "upstream_request_attempt_count": 1,
    }
    return HttpAccessLogEntry(
        common_properties=AccessLogCommon(**{**properties, **(common or {})}),
        request=HttpRequestProperties(authority="shop.example", path="/cart?item=12"),
        response=HttpResponseProperties(response_code=code, response_headers_bytes=120),
    )


def logs(*entries: HttpAccessLogEntry) -> bytes:
    return bytes(
        StreamAccessLogsMessage(
            http_logs=StreamAccessLogsMessageHttpAccessLogEntries(log_entry=list(entries))
        )
    )


def endpoint_stats(
    host: str = "10.0.0.1",
    *,
    succeeded: int = 0,
    failed: int = 0,
    in_progress: int = 0,
    metrics: Mapping[str, tuple[int, float]] | None = None,
) -> UpstreamEndpointStats:
    return UpstreamEndpointStats(
        address=address(host),
        total_successful_requests=succeeded,
        total_error_requests=failed,
        total_requests_in_progress=in_progress,
        total_issued_requests=succeeded + failed,
        load_metric_stats=[
            EndpointLoadMetricStats(
                metric_name=name, num_requests_finished_with_metric=count, total_metric_value=total
            )
            for name, (count, total) in (metrics or {}).items()
        ],
    )


def cluster_stats(
    *endpoints: UpstreamEndpointStats,
    name: str = "default/web",
    service_name: str = "",
    covered_s: float = 1.0,
) -> ClusterStats:
    return ClusterStats(
        cluster_name=name,
        cluster_service_name=service_name,
        load_report_interval=timedelta(seconds=covered_s),
        upstream_locality_stats=[
            UpstreamLocalityStats(upstream_endpoint_stats=list(endpoints)),
        ]
        if endpoints
        else [],
    )


def report(*clusters: ClusterStats) -> bytes:
    return bytes(LoadStatsRequest(cluster_stats=list(clusters)))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def hosts(count: int) -> Sequence[str]:
    return [f"10.0.0.{i + 1}" for i in range(count)]
