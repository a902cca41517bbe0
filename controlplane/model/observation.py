"""One look at a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from controlplane.model.service import EndpointId, ServiceName, Zone

Floats = NDArray[np.float64]

PER_ENDPOINT = (
    "succeeded",
    "failed",
    "in_flight",
    "latency_s",
    "latency_p99_s",
    "latency_samples",
    "utilisation",
    "age_s",
)
"""The arrays of an observation."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What the endpoints of one service did in the window that ended at `at_s`.

    Arrays have shape (n,) in the order of `endpoints`. NaN is "not known"; it is never 0, and
    nothing that is unknown is filled in here.
    """

    service: ServiceName
    at_s: float
    """When the newest number in it was taken, on the loop's monotonic clock."""
    window_s: float
    """How long the counts were counted."""
    endpoints: tuple[EndpointId, ...]
    succeeded: Floats
    """Requests that ended well in the window (an estimate where it was sampled)."""
    failed: Floats
    """Requests that ended with 5xx, a reset or a timeout in the window."""
    in_flight: Floats
    """Requests being served, summed over the proxies, mean over the window."""
    latency_s: Floats
    """Mean time of the successful requests."""
    latency_p99_s: Floats
    """99th percentile of the successful requests."""
    latency_samples: Floats
    """How many successful requests the two latencies rest on."""
    utilisation: Floats
    """What the endpoint says of itself over ORCA, 0 to 1 and above when overloaded."""
    age_s: Floats
    """Seconds from the endpoint's newest number to `at_s`."""
    proxies: int = 1
    """Envoys that sent numbers in the window."""
    workers: int = 1
    """Worker threads of those Envoys, as far as known; at least `proxies`."""
    coverage: float = 1.0
    """Part of the endpoints and proxies that was expected to report and did."""
    sticky_share: float = 0.0
    """Part of the traffic that sessions hold in place and weights cannot move."""
    by_place: Mapping[Zone, float] = field(default_factory=dict)
    """Requests of the whole cluster that ended in the window, by the place of the Envoys (see
    `places.nearest`); `NOWHERE` are those of other places. Load reports alone tell it."""

    latency_by_place: Mapping[Zone, Floats] = field(default_factory=dict)
    """(2, n) mean latency as the Envoys of a place saw it (NaN: not), and of how many requests.
    Access logs alone tell it, and only of services whose endpoints are in several zones."""

    def __post_init__(self) -> None:
        n = len(self.endpoints)
        for name in PER_ENDPOINT:
            if getattr(self, name).shape != (n,):
                shape = getattr(self, name).shape
                raise ValueError(f"{self.service}: {name} has shape {shape}, wanted ({n},)")
        if any(rows.shape != (2, n) for rows in self.latency_by_place.values()):
            raise ValueError(f"{self.service}: wanted two numbers of each endpoint for each place")

    @classmethod
    def unknown(
        cls, service: ServiceName, endpoints: tuple[EndpointId, ...], at_s: float = -np.inf
    ) -> Observation:
        """A look at which nothing was seen; the last numbers, if any, were taken at `at_s`."""
        nothing = np.full(len(endpoints), np.nan)
        return cls(
            service=service,
            at_s=at_s,
            window_s=1.0,
            endpoints=endpoints,
            succeeded=nothing,
            failed=nothing,
            in_flight=nothing,
            latency_s=nothing,
            latency_p99_s=nothing,
            latency_samples=nothing,
            utilisation=nothing,
            age_s=nothing,
            coverage=0.0,
        )

    def for_endpoints(self, endpoints: tuple[EndpointId, ...]) -> Observation:
        """The same look in the order of other endpoints; NaN for those that it did not see."""
        at = {endpoint: i for i, endpoint in enumerate(self.endpoints)}
        found = np.array([at.get(endpoint, -1) for endpoint in endpoints], dtype=np.intp)

        def moved(values: Floats) -> Floats:
            out = np.full(len(endpoints), np.nan)
            out[found >= 0] = values[found[found >= 0]]
            return out

        return replace(
            self,
            endpoints=endpoints,
            succeeded=moved(self.succeeded),
            failed=moved(self.failed),
            in_flight=moved(self.in_flight),
            latency_s=moved(self.latency_s),
            latency_p99_s=moved(self.latency_p99_s),
            latency_samples=moved(self.latency_samples),
            utilisation=moved(self.utilisation),
            age_s=moved(self.age_s),
            latency_by_place={
                place: np.stack([moved(latency_s), np.nan_to_num(moved(samples))])
                for place, (latency_s, samples) in self.latency_by_place.items()
            },
        )

    @property
    def rate_rps(self) -> Floats:
        """Requests that ended, well or not, per second."""
        return (self.succeeded + self.failed) / self.window_s

    @property
    def error_ratio(self) -> Floats:
        """Part of the requests that failed; NaN where none ended."""
        total = self.succeeded + self.failed
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 0, self.failed / total, np.nan)
