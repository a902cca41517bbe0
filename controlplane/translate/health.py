"""Which endpoints an Envoy takes for healthy: it asks them, and looks at how requests end."""

from __future__ import annotations

import functools

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCommonLbConfig,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import HealthStatus, HealthStatusSet
from envoy_data_plane.envoy.type.v3 import Percent

from controlplane.resources.health_check import HealthCheck, PassiveCheck
from controlplane.translate import health_checks
from controlplane.translate.wire import duration, number, wire

_MAX_EJECTION_S = 150.0
_KEEP_SESSIONS = (
    HealthStatus.UNKNOWN,
    HealthStatus.HEALTHY,
    HealthStatus.DRAINING,
    HealthStatus.DEGRADED,
)
"""Endpoints that a session may be led back to: one that drains, too."""


@functools.lru_cache(maxsize=1024)
def health(said: HealthCheck, name: str, *, http_2: bool = False) -> bytes:
    """The part of a Cluster; `name` is the host that is asked for where none is said.

    `http_2`: that is spoken to the endpoints, so that calls of gRPC can be made.
    """
    common = wire(
        ClusterCommonLbConfig,
        update_merge_window=duration(0),
        override_host_status=wire(HealthStatusSet, statuses=_KEEP_SESSIONS),
    )
    if said.panic_threshold is not None:
        threshold = wire(Percent, value=float(said.panic_threshold))
        common += wire(ClusterCommonLbConfig, healthy_panic_threshold=threshold)
    made = wire(Cluster, common_lb_config=common, outlier_detection=_outliers(said.passive))
    if said.active is None or (said.active.type == "GRPC" and not http_2):
        return made  # a check of gRPC without HTTP/2: Envoy would refuse the cluster
    # Envoy would keep an endpoint that is taken out as long as it answers checks.
    return made + wire(
        Cluster,
        health_checks=[health_checks.check(said.active, name, http_2=http_2)],
        ignore_health_on_host_removal=True,
    )


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
