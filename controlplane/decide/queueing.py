"""`model`: the split that makes requests wait least, if groups were queueing stations.

Each group is an M/G/c station (`controlplane.model.queues`), inside which Envoy's full scan
finds a free endpoint, as far as a proxy sees enough of the traffic to know one. The total time
spent, sum of lambda T(lambda), is least where one more request would cost the same everywhere it
is sent (equal marginal cost; A. N. Tantawi and D. Towsley, "Optimal static load balancing in
distributed computer systems", Journal of the ACM 32, 1985). It is solved for more load than there
is: a split that is best for the load of now floods the fast when a crowd comes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controlplane.decide.backlog import left
from controlplane.decide.stations import Stations
from controlplane.model import Proposal, Situation
from controlplane.model.folding import DEMAND, DEMAND_SLOW, IN_FLIGHT, SCV
from controlplane.model.observation import Floats
from controlplane.model.queues import Loads

HEADROOM = 0.1
"""Plan for the load that is forecast and this part of what is still free."""
FULL = 0.97
"""The highest utilisation planned for."""
LEAST_RATIO = 0.5
"""No group gets less than this times its part of the capacity: what is kept warm takes a crowd."""
ARRIVALS_SCV = 1.0
"""Variability of the gaps between arrivals: many independent clients make a Poisson process."""
_STEPS = 24
"""Of the bisection: the common cost is right to a part in a million."""


class QueueingModel:
    """The analytic policy that learning must beat, and its base."""

    name = "model"

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        """One proposal for each situation."""
        if not situations:
            return []
        stations = Stations.of(situations)
        shared = np.stack([s.estimate.shared for s in situations], axis=1)
        proxies = np.array([max(1, s.observation.proxies) for s in situations], dtype=np.float64)
        with np.errstate(all="ignore"):
            shares, load = _split(stations, shared, proxies)
        return [
            Proposal(shares=row, policy=self.name, notes=(_note(float(rho)),))
            for row, rho in zip(stations.rows(shares), load, strict=True)
        ]


def _note(load: float) -> str:
    if not np.isfinite(load):
        return "load unknown: by capacity"
    return f"load {load:.0%} of capacity"


def _split(stations: Stations, shared: Floats, proxies: Floats) -> tuple[Floats, Floats]:
    """(services, groups) shares, and (services,) the load planned for."""
    total = stations.capacity.sum(axis=1)
    by_capacity = stations.capacity / total[:, None]
    forecast = np.maximum(
        shared[DEMAND] + np.maximum(shared[DEMAND] - shared[DEMAND_SLOW], 0.0),
        shared[DEMAND_SLOW],
    )
    now = np.where(stations.known, forecast / total, np.nan)
    expected = now * stations.busier
    plan = np.minimum(expected + HEADROOM * np.maximum(1.0 - expected, 0.0), FULL)
    variability = 0.5 * (ARRIVALS_SCV + shared[SCV])
    rates = optimal(
        left(stations, shared[DEMAND], FULL),
        stations.base_s,
        pooled(stations, shared[IN_FLIGHT], proxies),
        variability,
        plan * total,
    )
    shares = rates / rates.sum(axis=1)[:, None]
    usable = np.isfinite(plan) & np.isfinite(shares).all(axis=1)
    shares = np.where(usable[:, None], shares, by_capacity)
    shares = np.maximum(shares, LEAST_RATIO * by_capacity)
    return shares / shares.sum(axis=1)[:, None], now


def pooled(stations: Stations, in_flight: Floats, proxies: Floats) -> Floats:
    """How many servers each group is worth to a request that has to find a free one.

    k endpoints of c servers are one station of k c servers to a proxy that knows them all, and k
    stations of c servers to one that knows nothing. A proxy knows an endpoint by the requests
    that it has there itself.
    """
    endpoints = stations.size.sum(axis=1)
    seen = np.nan_to_num(in_flight) / proxies / endpoints
    sight = (seen / (seen + 1.0))[:, None]
    each = np.maximum(stations.servers / np.maximum(stations.size, 1.0), 1.0)
    return np.asarray(each * np.maximum(stations.size, 1.0) ** sight, dtype=np.float64)


def optimal(
    capacity: Floats, base_s: Floats, servers: Floats, variability: Floats, demand: Floats
) -> Floats:
    """(services, groups) rates that sum to `demand` and make the total time spent least.

    The cost of one more request is S (1 + V d(rho Q)/d rho). Its common value is found by
    bisection on its logarithm; at each value the load of a station is looked up.
    """
    real = capacity > 0
    fastest = np.where(real, base_s, np.inf).min(axis=1)
    low, high = np.log(fastest), np.log(np.where(real, base_s, 0.0).max(axis=1)) + 14.0
    spread = variability[:, None]
    rates, loads = capacity, Loads(servers)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        margin = (np.exp(middle)[:, None] / base_s - 1.0) / spread
        rates = capacity * loads.at(margin)
        enough = rates.sum(axis=1) >= demand
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle)
    return np.where(real, rates, 0.0)
