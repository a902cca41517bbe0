"""Services and looks for the tests of deciding: endpoints that are queueing stations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from controlplane.model import (
    Actuation,
    Endpoint,
    Estimate,
    Grouping,
    Observation,
    Service,
    ServiceName,
    Situation,
    folding,
)
from controlplane.model.observation import Floats
from controlplane.model.queues import queueing

NAME = ServiceName("test/cart")


def service(n: int, **fields: object) -> Service:
    endpoints = tuple(Endpoint(f"10.0.{i // 250}.{i % 250 + 1}", 80) for i in range(n))
    return Service(NAME, endpoints, **{"policy": "model", **fields})  # type: ignore[arg-type]


def ids(of: Service) -> tuple[str, ...]:
    return tuple(endpoint.id for endpoint in of.endpoints)


@dataclass
class World:
    """Endpoints with a true capacity each, watched second by second."""

    capacity: Floats
    servers: float = 4.0
    proxies: int = 12
    says: bool = False
    """Whether endpoints say how busy they are."""
    seed: int = 1
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.service = service(len(self.capacity))

    def look(self, rate: Floats) -> Observation:
        """A noisy second with these arrivals; what is above the capacity piles up."""
        self.now_s += 1.0
        rate = np.minimum(rate, 0.98 * self.capacity)
        count = self.random.poisson(rate).astype(np.float64)
        rho = rate / self.capacity
        latency = self.servers / self.capacity * (1.0 + queueing(rho, self.servers))
        with np.errstate(invalid="ignore", divide="ignore"):
            noisy = latency * self.random.gamma(np.maximum(count, 1.0)) / np.maximum(count, 1.0)
        n = len(self.capacity)
        return Observation(
            service=NAME,
            at_s=self.now_s,
            window_s=1.0,
            endpoints=ids(self.service),  # type: ignore[arg-type]
            succeeded=count,
            failed=np.zeros(n),
            in_flight=self.random.poisson(rate * latency).astype(np.float64),
            latency_s=np.where(count > 0, noisy, np.nan),
            latency_p99_s=np.full(n, np.nan),
            latency_samples=count,
            utilisation=rho if self.says else np.full(n, np.nan),
            age_s=np.zeros(n),
            proxies=self.proxies,
        )

    def watched(self, seconds: int, load: float = 0.7, before: Estimate | None = None) -> Estimate:
        """What is believed after so many seconds of a split by capacity."""
        estimate = before or Estimate.unknown(ids(self.service))  # type: ignore[arg-type]
        for _ in range(seconds):
            estimate = estimate.fold(self.look(load * self.capacity))
        return estimate


def known(capacity: Floats, base_s: Floats | float = 0.05, demand: float = 0.0) -> Estimate:
    """An estimate that knows capacities, service times and the demand."""
    names = ids(service(len(capacity)))
    estimate = Estimate(names, 0.0, capacity)  # type: ignore[arg-type]
    table, shared = estimate.table.copy(), estimate.shared.copy()
    table[folding.BASE] = table[folding.SERVICE] = np.log(base_s)
    table[folding.VARIANCE] = 0.01**2
    shared[folding.DEMAND] = shared[folding.DEMAND_SLOW] = demand
    shared[folding.IN_FLIGHT] = demand * 0.05
    return replace(estimate, table=table, shared=shared)


def situation(
    estimate: Estimate, groups: list[int] | None = None, by_locality: bool = True
) -> Situation:
    """A situation of these beliefs; each endpoint a group of its own when no groups are given."""
    n = len(estimate.endpoints)
    index = np.arange(n) if groups is None else np.array(groups)
    count = int(index.max()) + 1
    of = service(n, actuation=Actuation.GROUPS if by_locality else Actuation.ENDPOINTS)
    grouping = Grouping(
        estimate.endpoints, tuple(f"c{g}" for g in range(count)), index, by_locality=by_locality
    )
    look = Observation.unknown(NAME, estimate.endpoints)
    shares = grouping.sizes / n
    return Situation(of, replace(look, proxies=12), estimate, grouping, shares)
