"""Which endpoints an Envoy takes for healthy: it asks them, and looks at how requests end."""

from __future__ import annotations

import functools

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCommonLbConfig,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckHttpHealthCheck,
    HealthCheckPayload,
    HealthCheckTcpHealthCheck,
    HealthStatus,
    HealthStatusSet,
    RequestMethod,
)
from envoy_data_plane.envoy.type.v3 import Int64Range, Percent

from controlplane.resources import health_check
from controlplane.resources.health_check import ActiveCheck, HttpCheck, PassiveCheck, TcpCheck
from controlplane.translate.wire import duration, number, wire

_JITTER_PERCENT = 10
"""Many Envoys that ask in step are a burst for the endpoint."""
_MAX_EJECTION_S = 150.0
_ANY_STATUS = wire(Int64Range, start=100, end=600)
_KEEP_SESSIONS = (
    HealthStatus.UNKNOWN,
    HealthStatus.HEALTHY,
    HealthStatus.DRAINING,
    HealthStatus.DEGRADED,
)
"""Endpoints that a session may be led back to: one that drains, too."""


@functools.lru_cache(maxsize=1024)
def health(said: health_check.HealthCheck, name: str) -> bytes:
    """The part of a Cluster; `name` is the host that is asked for where none is said."""
    common = wire(
        ClusterCommonLbConfig,
        update_merge_window=duration(0),
        override_host_status=wire(HealthStatusSet, statuses=_KEEP_SESSIONS),
    )
    if said.panic_threshold is not None:
        threshold = wire(Percent, value=float(said.panic_threshold))
        common += wire(ClusterCommonLbConfig, healthy_panic_threshold=threshold)
    made = wire(Cluster, common_lb_config=common, outlier_detection=_outliers(said.passive))
    if said.active is None:
        return made
    # Envoy would keep an endpoint that is taken out as long as it answers checks.
    return made + wire(
        Cluster, health_checks=[_check(said.active, name)], ignore_health_on_host_removal=True
    )


def _check(one: ActiveCheck, name: str) -> bytes:
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
        return made + wire(HealthCheck, http_health_check=_http(one.http, name))
    return made + wire(HealthCheck, tcp_health_check=_tcp(one.tcp or TcpCheck()))


def _http(one: HttpCheck, name: str) -> bytes:
    expected = [wire(Int64Range, start=code, end=code + 1) for code in one.expected_statuses]
    return wire(
        HealthCheckHttpHealthCheck,
        host=one.hostname or name,
        path=one.path,
        method=RequestMethod[one.method],
        expected_statuses=expected,
        # Any other status would be unhealthy at once, whatever the threshold.
        retriable_statuses=[_ANY_STATUS],
    )


def _tcp(one: TcpCheck) -> bytes:
    made = wire(HealthCheckTcpHealthCheck)
    if one.send is not None:
        made += wire(HealthCheckTcpHealthCheck, send=_payload(one.send))
    if one.receive is not None:
        made += wire(HealthCheckTcpHealthCheck, receive=[_payload(one.receive)])
    return made


def _payload(one: health_check.Payload) -> bytes:
    return wire(HealthCheckPayload, text=one.text.encode().hex())


def _outliers(one: PassiveCheck) -> bytes:
    made = wire(
        OutlierDetection,
        consecutive_5xx=number(one.consecutive_5xx_errors),
        consecutive_gateway_failure=number(one.consecutive_gateway_errors),
        enforcing_consecutive_gateway_failure=number(100),
        interval=duration(one.interval),
        base_ejection_time=duration(one.base_ejection_time),
        max_ejection_time=duration(max(_MAX_EJECTION_S, one.base_ejection_time)),
        max_ejection_percent=number(one.max_ejection_percent),
    )
    if one.split_external_local_origin_errors:
        failures = number(one.consecutive_local_origin_failures)
        made += wire(
            OutlierDetection,
            split_external_local_origin_errors=True,
            consecutive_local_origin_failure=failures,
        )
    return made
