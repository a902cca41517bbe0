"""Where the requests of each region should go, when the way costs time as waiting does.

Endpoints are stations (`controlplane.model.queues`) that requests of several sources share; a
request of source i at station j takes the way w_ij, which does not depend on the load, and then
T_j. The total time, sum of x_ij (w_ij + T_j(X_j)) with X_j the sum over i, is least where for each
source one more request would cost the same at every station that it uses, and no less at any
other (A. N. Tantawi and D. Towsley, "Optimal static load balancing in distributed computer
systems", Journal of the ACM 32, 1985, who call the way communication delay):

    w_ij + S_j (1 + V_j d(rho Q)/d rho) = cost_i  where x_ij > 0,  and is >= cost_i elsewhere.

Pure, numpy only.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats
from controlplane.model.queues import Loads

SWEEPS = 60
"""Each lets every source answer the others once. With a few regions ten are enough."""
STEPS, CUTS = 8, 32
"""Rounds of a search for a cost, and where each cuts what is left; all cuts are tried at once,
which costs little more than one. The cost is right to nine digits, as after 40 bisections."""
SETTLED = 1e-7
"""Sweeps end when none moves more than this part of all requests."""
FADES_S = 30.0
"""How long a measured way is believed: the network changes rarely, and noise is large."""


@dataclass(frozen=True, slots=True, eq=False)
class Destinations:
    """Stations whose requests may come from any source; arrays (g,)."""

    capacity: Floats
    """Requests per second."""
    base_s: Floats
    """Seconds that a request takes when it does not wait."""
    servers: Floats
    variability: Floats
    """Half the sum of the squared coefficients of variation of gaps and of service."""


def spread(there: Destinations, way_s: Floats, demand: Floats) -> Floats:
    """(r, g) requests per second from each source to each station, of least total time.

    `way_s` (r, g) is there and back, `demand` (r,) in requests per second, in all less than the
    capacity. Each source in turn answers what the others send: the total time is convex, and the
    sources' choices are independent, so that this descends to its least. Two that pass each other
    on the way would part slowly by that; they exchange at once.
    """
    rates = np.zeros(way_s.shape)
    loads = Loads(there.servers)
    tiny = SETTLED * demand.sum()
    for _ in range(SWEEPS):
        before = rates.copy()
        for i, asked in enumerate(demand.tolist()):
            others = rates.sum(axis=0) - rates[i]
            rates[i] = _answer(there, loads, way_s[i], others, asked)
        for i, k in itertools.combinations(range(len(demand)), 2):
            rates[[i, k]] = _exchanged(rates[[i, k]], way_s[i] - way_s[k])
        if np.abs(rates - before).max() <= tiny:
            break
    return rates


def _answer(
    there: Destinations, loads: Loads, way_s: Floats, others: Floats, asked: float
) -> Floats:
    """(g,) where one source sends its requests, given what the others send there."""
    if asked <= 0.0:
        return np.zeros(len(way_s))
    real = there.capacity > 0.0
    low = float(np.log((way_s + there.base_s)[real].min()))
    high = float(np.log((way_s + there.base_s)[real].max())) + 14.0
    for _ in range(STEPS):
        tried = np.linspace(low, high, CUTS + 2)
        costs = np.exp(tried[1:-1, None])
        enough = _taken(there, loads, way_s, others, costs).sum(axis=1) >= asked
        first = int(enough.argmax()) if enough.any() else CUTS
        low, high = float(tried[first]), float(tried[first + 1])
    taken = _taken(there, loads, way_s, others, np.exp(high))
    return np.asarray(asked * taken / taken.sum(), np.float64)


def _exchanged(pair: Floats, further: Floats) -> Floats:
    """(2, g) the same in each row and column, with the shortest ways of all.

    The first of two sources takes what both send to the stations that are least `further` for it
    than for the second, until it has all of its own.
    """
    both, order = pair.sum(axis=0), np.argsort(further, kind="stable")
    before = np.cumsum(both[order]) - both[order]
    first = np.empty_like(both)
    first[order] = np.clip(pair[0].sum() - before, 0.0, both[order])
    return np.stack([first, both - first])


def _taken(
    there: Destinations, loads: Loads, way_s: Floats, others: Floats, cost: Floats | float
) -> Floats:
    """(g,) how much each station takes of a source that pays this for one more request.

    (k, g) for (k, 1) costs.
    """
    with np.errstate(all="ignore"):
        margin = ((cost - way_s) / there.base_s - 1.0) / there.variability
        full = there.capacity * loads.at(margin)
    return np.where(there.capacity > 0.0, np.maximum(full - others, 0.0), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Ways:
    """How long the way from each region's proxies to each region's endpoints is, as measured.

    Proxies of several regions that see the same endpoint in the same time see the same queue; what
    their latencies differ by is the way. Where two of them have seen one, that is known.
    """

    sum_s: Floats
    """(r, r) differences, each times its weight."""
    weight: Floats
    """(r, r) 0 where the way was never measured."""

    @classmethod
    def unknown(cls, regions: int) -> Ways:
        """Before anything was seen."""
        return cls(np.zeros((regions, regions)), np.zeros((regions, regions)))

    def fold(
        self, latency_s: Floats, samples: Floats, home: NDArray[np.intp], since_s: float
    ) -> Ways:
        """With one more look.

        (r, n) mean latencies that the proxies of each region saw and of how many requests; (n,)
        the region of each endpoint; seconds since the look before.
        """
        each = np.arange(latency_s.shape[1])
        known = np.where(np.isfinite(latency_s), samples, 0.0)
        near = known[home, each]
        with np.errstate(all="ignore"):
            sure = known * near / (known + near)  # the variance of a difference adds
            apart = latency_s - latency_s[home, each]
        sure = np.where(np.isfinite(apart), np.nan_to_num(sure), 0.0)
        of = (home[:, None] == np.arange(len(latency_s))).astype(np.float64)
        fades = float(np.exp(-since_s / FADES_S))
        return Ways(
            fades * self.sum_s + (sure * np.nan_to_num(apart)) @ of,
            fades * self.weight + sure @ of,
        )

    @property
    def seconds(self) -> Floats:
        """(r, r) there and back, from proxies to endpoints; 0 at home, and where it is unknown."""
        with np.errstate(all="ignore"):
            mean = np.nan_to_num(self.sum_s / self.weight)
        return np.asarray(np.maximum(mean, 0.0), np.float64)
