"""What a run reports: telemetry as a control plane sees it, and what clients really felt."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.model import EndpointId, Observation, ServiceName
from policies.simulator.core import quantile_bins
from policies.simulator.state import BIN_FROM, BIN_WIDTH

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Telemetry:
    """What the endpoints did in a window: arrays (n,), NaN where nothing was seen."""

    at_s: float
    window_s: float
    endpoints: tuple[EndpointId, ...]
    succeeded: Floats
    failed: Floats
    in_flight: Floats
    """Mean over the window, summed over the proxies."""
    latency_s: Floats
    latency_p99_s: Floats
    latency_samples: Floats
    utilisation: Floats
    """Part of the workers that were busy: the truth, which ORCA would report with some noise."""
    proxies: int
    """Those that reported."""
    workers: int
    coverage: float = 1.0
    """Part of the proxies that reported."""

    def observation(
        self,
        service: ServiceName,
        *,
        utilisation_noise: Floats | None = None,
        age_s: float = 0.0,
    ) -> Observation:
        """The look at the service that a control plane makes of it.

        Utilisation is seen only where its noise is given, (n,) factors.
        """
        if self.proxies == 0:
            return Observation.unknown(service, self.endpoints, self.at_s)
        unseen = np.full(len(self.endpoints), np.nan)
        said = unseen if utilisation_noise is None else self.utilisation * utilisation_noise
        return Observation(
            service=service,
            at_s=self.at_s,
            window_s=self.window_s,
            endpoints=self.endpoints,
            succeeded=self.succeeded,
            failed=self.failed,
            in_flight=self.in_flight,
            latency_s=self.latency_s,
            latency_p99_s=self.latency_p99_s,
            latency_samples=self.latency_samples,
            utilisation=said,
            age_s=np.full(len(self.endpoints), age_s),
            proxies=self.proxies,
            workers=self.workers,
            coverage=self.coverage,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the requests that arrived in a span of time got, each in full."""

    requests: int
    failed: int
    latency_sum_s: float
    histogram: NDArray[np.int64]
    latency_squares_s2: float = 0.0
    """Sum of the squares of the latencies."""

    @property
    def mean_s(self) -> float:
        """Mean latency of the successes; NaN without any."""
        fine = self.requests - self.failed
        return self.latency_sum_s / fine if fine else float("nan")

    @property
    def error_ratio(self) -> float:
        """Part of the requests that failed; 0 without any request."""
        return self.failed / self.requests if self.requests else 0.0

    def quantile_s(self, q: float) -> float:
        """A quantile of the successes, within 2 %."""
        return float(quantile(self.histogram[None, :].astype(np.int32), q)[0])

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.requests + other.requests,
            self.failed + other.failed,
            self.latency_sum_s + other.latency_sum_s,
            self.histogram + other.histogram,
            self.latency_squares_s2 + other.latency_squares_s2,
        )

    @classmethod
    def together(cls, parts: Iterable[Outcome]) -> Outcome:
        """Of all requests of one part or more."""
        return functools.reduce(operator.add, parts)


def quantile(histograms: NDArray[np.int32], q: float) -> Floats:
    """(n,) the quantile of each row of a histogram; NaN for an empty one."""
    bins = np.empty(len(histograms), np.int64)
    quantile_bins(np.ascontiguousarray(histograms), q, bins)
    middle = np.exp(BIN_FROM + (bins + 0.5) * BIN_WIDTH)
    return np.where(bins >= 0, middle, np.nan)
