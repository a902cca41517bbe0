"""Adaptive concurrency: a limit of requests in flight that follows latency.

Envoy knows it for a listener alone, so a route brings it along.
"""

from __future__ import annotations

from envoy_data_plane.envoy.extensions.filters.http.adaptive_concurrency.v3 import (
    AdaptiveConcurrency,
    GradientControllerConfig,
    GradientControllerConfigConcurrencyLimitCalculationParams,
    GradientControllerConfigMinimumRttCalculationParams,
)
from envoy_data_plane.envoy.type.v3 import Percent

from controlplane.resources import resilience
from controlplane.translate.brought import brought
from controlplane.translate.wire import duration, number, packed, wire

FILTER = "weir.adaptive_concurrency"


def concurrency(one: resilience.AdaptiveConcurrency) -> bytes:
    """The configuration of the filter for a route."""
    limit, measured = one.concurrency_limit_params, one.min_rtt_calculation
    gradient = wire(
        GradientControllerConfig,
        sample_aggregate_percentile=_percent(one.gradient_controller.sample_aggregate_percentile),
        concurrency_limit_params=wire(
            GradientControllerConfigConcurrencyLimitCalculationParams,
            max_concurrency_limit=number(limit.max_concurrency_limit),
            concurrency_update_interval=duration(limit.concurrency_update_interval),
        ),
        min_rtt_calc_params=wire(
            GradientControllerConfigMinimumRttCalculationParams,
            interval=duration(measured.interval),
            request_count=number(measured.request_count),
            jitter=_percent(measured.jitter),
            min_concurrency=number(limit.min_concurrency_limit),
            buffer=_percent(measured.buffer),
        ),
    )
    config = wire(AdaptiveConcurrency, gradient_controller_config=gradient)
    return brought("envoy.filters.http.adaptive_concurrency", packed(AdaptiveConcurrency, config))


def _percent(value: float) -> bytes:
    return wire(Percent, value=float(value))
