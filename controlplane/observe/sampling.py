"""How much of the traffic the Envoys should log.

The filter of the access log reads a runtime key that we push. One percentage holds for all routes
of a fleet. Enough entries for a latency at every endpoint each second, few enough for the machines
on both sides: an entry costs Envoy about 40 µs and us a few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

SAMPLING_S = 5.0
"""How often the part of the traffic that is logged is looked at again."""
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


class Sampled(Protocol):
    """What reads the access logs, and must know how much of the traffic is in them."""

    def sampled(self, percent: float) -> None:
        """So much is asked for from now on."""
        ...


class Reported(Protocol):
    """What Envoys report."""

    @property
    def access_logs(self) -> Sampled:
        """Who reads them."""
        ...

    def rates_rps(self) -> Iterable[float]:
        """Requests a second of each service."""
        ...


class Sampling:
    """The percentage that the Envoys are asked for."""

    def __init__(self, reported: Reported, clock: Callable[[], float]) -> None:
        self._reported = reported
        self._clock = clock
        self._again_s = clock()
        self.told = 100.0
        """What was asked for last, by whoever decides."""

    def percent(self, in_force: float) -> float:
        """What to ask for, from what the Envoys report."""
        now_s = self._clock()
        if now_s < self._again_s:
            return in_force
        self._again_s = now_s + SAMPLING_S
        rates = [rate for rate in self._reported.rates_rps() if rate > 0]
        self.told = sampling_percent(sum(rates), len(rates), in_force)
        self._reported.access_logs.sampled(self.told)
        return self.told

    def follow(self, percent: float) -> None:
        """The replica that decides says it."""
        if percent != self.told:
            self.told = percent
            self._reported.access_logs.sampled(percent)
