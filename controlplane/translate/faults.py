"""Faults on purpose: requests that wait or are answered with an error, by chance, for drills."""

from __future__ import annotations

from envoy_data_plane.envoy.extensions.filters.common.fault.v3 import FaultDelay
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import FaultAbort, HttpFault

from controlplane.resources import resilience
from controlplane.translate.shares import percent
from controlplane.translate.wire import duration, packed, wire

FILTER = "envoy.filters.http.fault"


def faults(one: resilience.FaultInjection) -> bytes:
    """The configuration of the filter for a route."""
    fault = b""
    if one.delay is not None:
        delay = wire(
            FaultDelay,
            fixed_delay=duration(one.delay.fixed_delay),
            percentage=percent(one.delay.percentage),
        )
        fault += wire(HttpFault, delay=delay)
    if one.abort is not None:
        abort = wire(FaultAbort, percentage=percent(one.abort.percentage))
        if one.abort.http_status is not None:
            abort += wire(FaultAbort, http_status=one.abort.http_status)
        else:
            abort += wire(FaultAbort, grpc_status=one.abort.grpc_status or 0)
        fault += wire(HttpFault, abort=abort)
    return packed(HttpFault, fault)
