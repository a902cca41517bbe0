"""Shares of requests by chance, in millionths: percent with four decimals."""

from __future__ import annotations

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter, RuntimeFilter
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType

from controlplane.translate.wire import wire

PER_PERCENT = 10_000
"""Millionths of a percent."""


def percent(of_requests: float) -> bytes:
    """A FractionalPercent."""
    return millionths(round(of_requests * PER_PERCENT))


def millionths(count: int) -> bytes:
    """A FractionalPercent: so many of a million."""
    return wire(
        FractionalPercent,
        numerator=count,
        denominator=FractionalPercentDenominatorType.MILLION,
    )


def logged(runtime_key: str, of_requests: float) -> bytes:
    """An AccessLogFilter: this percentage, or what the runtime says, by chance alone: a client
    cannot choose whether it is seen."""
    sampled = wire(
        RuntimeFilter,
        runtime_key=runtime_key,
        percent_sampled=percent(of_requests),
        use_independent_randomness=True,
    )
    return wire(AccessLogFilter, runtime_filter=sampled)
