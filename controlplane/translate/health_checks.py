"""How an Envoy asks an endpoint whether it serves: by HTTP, gRPC, bytes, or a command of Redis."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckCustomHealthCheck,
    HealthCheckGrpcHealthCheck,
    HealthCheckHttpHealthCheck,
    HealthCheckPayload,
    HealthCheckTcpHealthCheck,
    RequestMethod,
)
from envoy_data_plane.envoy.extensions.health_checkers.redis.v3 import Redis
from envoy_data_plane.envoy.type.v3 import CodecClientType, Int64Range
from envoy_data_plane.google.protobuf import UInt64Value

from controlplane.resources.health_check import (
    ActiveCheck,
    GrpcCheck,
    HttpCheck,
    Payload,
    RedisCheck,
    TcpCheck,
)
from controlplane.translate.headers import in_place
from controlplane.translate.wire import duration, number, packed, wire

_JITTER_PERCENT = 10
"""Many Envoys that ask in step are a burst for the endpoint."""
_LOOKED_AT = 16 * 1024
"""Bytes of a body that something is expected in."""
_ANY_STATUS = wire(Int64Range, start=100, end=600)


def check(one: ActiveCheck, name: str, *, http_2: bool) -> bytes:
    """A HealthCheck; `name` is the host that is asked for where none is said, `http_2` how."""
    made = wire(
        HealthCheck,
        timeout=duration(one.timeout),
        interval=duration(one.interval),
        interval_jitter_percent=_JITTER_PERCENT,
        # Envoy asks once a minute where a cluster has had no requests; who declared it, wants it.
        no_traffic_interval=duration(one.interval),
        unhealthy_threshold=number(one.unhealthy_threshold),
        healthy_threshold=number(one.healthy_threshold),
    )
    if one.http is not None:
        return made + wire(HealthCheck, http_health_check=_http(one.http, name, http_2))
    if one.type == "GRPC":
        return made + wire(HealthCheck, grpc_health_check=_grpc(one.grpc or GrpcCheck(), name))
    if one.type == "Redis":
        return made + wire(HealthCheck, custom_health_check=_redis(one.redis or RedisCheck()))
    return made + wire(HealthCheck, tcp_health_check=_tcp(one.tcp or TcpCheck()))


def _http(one: HttpCheck, name: str, http_2: bool) -> bytes:
    kind = HealthCheckHttpHealthCheck
    expected = [wire(Int64Range, start=code, end=code + 1) for code in one.expected_statuses]
    made = wire(
        kind,
        host=one.hostname or name,
        path=one.path,
        method=RequestMethod[one.method],
        request_headers_to_add=in_place(one.request_headers),
        expected_statuses=expected,
        # Any other status would be unhealthy at once, whatever the threshold.
        retriable_statuses=[_ANY_STATUS],
    )
    if http_2:  # Envoy does not look at what the cluster speaks
        made += wire(kind, codec_client_type=CodecClientType.HTTP2)
    if one.expected_response is not None:
        most = wire(UInt64Value, value=_LOOKED_AT)
        looked_for = [_payload(one.expected_response)]
        made += wire(kind, receive=looked_for, response_buffer_size=most)
    return made


def _grpc(one: GrpcCheck, name: str) -> bytes:
    return wire(HealthCheckGrpcHealthCheck, service_name=one.service, authority=name)


def _redis(one: RedisCheck) -> bytes:
    return wire(
        HealthCheckCustomHealthCheck,
        name="envoy.health_checkers.redis",
        typed_config=packed(Redis, wire(Redis, key=one.key)),
    )


def _tcp(one: TcpCheck) -> bytes:
    made = wire(HealthCheckTcpHealthCheck)
    if one.send is not None:
        made += wire(HealthCheckTcpHealthCheck, send=_payload(one.send))
    if one.receive is not None:
        made += wire(HealthCheckTcpHealthCheck, receive=[_payload(one.receive)])
    return made


def _payload(one: Payload) -> bytes:
    return wire(HealthCheckPayload, text=one.content.hex())
