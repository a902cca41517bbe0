"""How much of the traffic the Envoys should log.

The filter of the access log reads a runtime key that we push. One percentage holds for all routes
of a fleet. Enough entries for a latency at every endpoint each second, few enough for the machines
on both sides: an entry costs Envoy about 40 µs and us a few.
"""

from __future__ import annotations

ENTRIES_PER_SERVICE = 300.0
"""Entries a second that are wanted of an average service."""
ENTRIES = 20_000.0
"""Entries a second that are wanted in all."""
LEAST_PERCENT = 0.01
CHANGE = 2.0
"""The percentage in force is left alone while the wanted one is within this factor of it."""


def sampling_percent(rate_rps: float, services: int, in_force: float = 100.0) -> float:
    """The percentage to push for this rate of requests, over all services that have any.

    Never 0, and the one in force while that is near enough: each change goes to every Envoy.

    >>> sampling_percent(rate_rps=100.0, services=1)
    100.0
    >>> sampling_percent(rate_rps=30_000.0, services=1)
    1.0
    >>> sampling_percent(rate_rps=40_000.0, services=1, in_force=1.0)
    1.0
    """
    if not rate_rps > 0.0 or services < 1:
        return in_force
    entries = min(ENTRIES, ENTRIES_PER_SERVICE * services)
    wanted = min(100.0, max(LEAST_PERCENT, 100.0 * entries / rate_rps))
    near = in_force / CHANGE < wanted < in_force * CHANGE
    return in_force if near and not (wanted == 100.0 and in_force < 100.0) else wanted
