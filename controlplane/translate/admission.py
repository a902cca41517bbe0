"""Admission control: a Backend that fails is sent less.

It stands among the filters of the cluster, behind the choice of the endpoint, so that it counts
what the Backend answers and nothing else, and outlives changes of routes. Failures are, as Envoy
has it, answers with 5xx, and of gRPC the statuses that stand for them.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import RuntimeDouble, RuntimePercent, RuntimeUInt32
from envoy_data_plane.envoy.extensions.filters.http.admission_control.v3 import (
    AdmissionControl,
    AdmissionControlSuccessCriteria,
)
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.v3 import Percent

from controlplane.resources import resilience
from controlplane.translate.wire import duration, packed, wire

_KEY = "weir.admission_control"
"""Before the names of runtime values, which Envoy wants to have."""


def upstream_filters(one: resilience.AdmissionControl) -> list[bytes]:
    """The HTTP filters of a cluster; the codec is the last."""
    return [
        wire(
            HttpFilter,
            name="envoy.filters.http.admission_control",
            typed_config=packed(AdmissionControl, _control(one)),
        ),
        wire(
            HttpFilter,
            name="envoy.filters.http.upstream_codec",
            typed_config=packed(UpstreamCodec),
        ),
    ]


def _control(one: resilience.AdmissionControl) -> bytes:
    return wire(
        AdmissionControl,
        success_criteria=wire(AdmissionControlSuccessCriteria),
        sampling_window=duration(one.sampling_window),
        aggression=wire(
            RuntimeDouble, default_value=float(one.aggression), runtime_key=f"{_KEY}.aggression"
        ),
        sr_threshold=_percent(one.success_rate_threshold, "sr_threshold"),
        rps_threshold=wire(
            RuntimeUInt32, default_value=one.rps_threshold, runtime_key=f"{_KEY}.rps_threshold"
        ),
        max_rejection_probability=_percent(one.max_rejection_probability, "max_rejection"),
    )


def _percent(part: float, name: str) -> bytes:
    percent = wire(Percent, value=part * 100.0)
    return wire(RuntimePercent, default_value=percent, runtime_key=f"{_KEY}.{name}")
