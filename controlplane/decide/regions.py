"""`model` between regions: where the Envoys of each place send, by waiting, ways and failures.

Each zone of a Backend is a service of its own, whose groups are queueing stations as for `model`;
weights inside a zone are its own policy's. What is decided here is which part of its requests each
place of Envoys sends to which zone: the split of least total time (`controlplane.model.regions`),
for more load than there is, as `model` plans. A failure counts as much time as an objective takes
for it, so that a zone that fails is left as far as the others have room.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controlplane.decide.queueing import ARRIVALS_SCV, FULL, HEADROOM, pooled
from controlplane.decide.stations import ERRORS_IGNORED, Stations
from controlplane.model import Situation
from controlplane.model.folding import DEMAND, DEMAND_SLOW, ERRORS, IN_FLIGHT, SCV
from controlplane.model.observation import Floats
from controlplane.model.regions import Places, spread

A_FAILURE = 5.0
"""So many times the time of a request: what the default objective takes for one."""
LEAST = 0.01
"""Every place sends so much of its requests everywhere, by capacity: so that ways stay measured."""


def between(zones: Sequence[Situation], traffic: Floats, way_s: Floats) -> Floats | None:
    """(places, zones) parts of the requests of each place of Envoys; each row sums to 1.

    `traffic` (places,) is in any unit, `way_s` (places, zones) there and back. None as long as the
    capacity of a zone is not known in requests per second, or nobody asks.
    """
    stations = Stations.of(zones)
    shared = np.stack([zone.estimate.shared for zone in zones], axis=1)
    total, asks = float(stations.capacity.sum()), float(traffic.sum())
    now = float(np.nansum(_forecast(shared))) / total
    if not (stations.known.all() and np.isfinite(now) and now > 0.0 and asks > 0.0):
        return None
    proxies = np.array([max(1, zone.observation.proxies) for zone in zones], np.float64)
    with np.errstate(all="ignore"):
        servers = pooled(stations, shared[IN_FLIGHT], proxies)
    real = stations.real
    of = np.nonzero(real)[0]
    variability = 0.5 * (ARRIVALS_SCV + np.nan_to_num(shared[SCV], nan=1.0))
    places = Places(stations.capacity[real], stations.base_s[real], servers[real], variability[of])
    plan = min(now + HEADROOM * max(1.0 - now, 0.0), FULL)
    costs = way_s + _failing(zones) * A_FAILURE * float(np.average(places.base_s))
    rates = spread(places, costs[:, of], plan * total * traffic / asks)
    if not np.isfinite(rates).all():
        return None
    by_zone = rates @ (of[:, None] == np.arange(len(zones)))
    with np.errstate(all="ignore"):
        shares = by_zone / by_zone.sum(axis=1, keepdims=True)
    by_capacity = stations.capacity.sum(axis=1) / total
    shares = np.where(np.isfinite(shares), shares, by_capacity)
    return np.asarray((1.0 - LEAST) * shares + LEAST * by_capacity, np.float64)


def _forecast(shared: Floats) -> Floats:
    """(zones,) requests per second that will come: as `model` takes it."""
    rising = shared[DEMAND] + np.maximum(shared[DEMAND] - shared[DEMAND_SLOW], 0.0)
    return np.asarray(np.maximum(rising, shared[DEMAND_SLOW]), np.float64)


def _failing(zones: Sequence[Situation]) -> Floats:
    """(zones,) how much more of its requests each fails than the best, beyond noise."""
    errors = np.array([_mean(zone.estimate.table[ERRORS]) for zone in zones])
    return np.asarray(np.maximum(0.0, errors - errors.min() - ERRORS_IGNORED), np.float64)


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0
