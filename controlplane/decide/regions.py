"""`model` between regions: where the Envoys of each place send, by waiting, ways and failures.

Each zone of a Backend is a service of its own, which its own policy balances inside. What is
decided here is which part of its requests each place of Envoys sends to which zone: the split of
least total time (`controlplane.model.regions`) over all groups as queueing stations, for more load
than there is, as `model` plans. A failure counts as much time as the default objective takes
for it, so that a zone that fails is left as far as the others have room.

What is believed of the endpoints has to be one belief of all zones: where all endpoints of a
service turn slow alike, that looks like load (`controlplane.model.folding`), and beside the other
zones it does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controlplane.decide.queueing import ARRIVALS_SCV, FULL, HEADROOM, pooled
from controlplane.decide.stations import ERRORS_IGNORED, Stations
from controlplane.model import Situation
from controlplane.model.folding import DEMAND, DEMAND_SLOW, ERRORS, IN_FLIGHT, SCV
from controlplane.model.observation import Floats
from controlplane.model.queues import queueing
from controlplane.model.regions import Destinations, spread

A_FAILURE = 5.0
"""So many times the time of a request: what the default objective takes for one."""
CAREFUL = 0.75
"""Without utilisation a capacity is known beside others alone, and a load may be believed half of
what it is (docs/decide.md). The split is then made for this load at least: requests go a little
further than they must while there is room, and no zone is flooded when there is not."""
SURPRISED = 1.3
"""A zone's requests may take this much longer than they should. What is above is the queue of an
overload that is not yet understood; it counts as time on the way there."""
MOVE = 0.8
"""This part of the way to the new shares is gone each time: looks are noisy. 0.4 was slower to
leave a region that turned slow, by 4 % of the mean."""
LEAST = 0.01
"""Every place sends so much of its requests everywhere, by capacity: so that ways stay measured."""


def between(
    whole: Situation,
    zone: NDArray[np.intp],
    traffic: Floats,
    way_s: Floats,
    before: Floats | None = None,
) -> Floats | None:
    """(places, zones) parts of the requests of each place of Envoys; each row sums to 1.

    `whole` has the groups of all zones, `zone` (groups,) says whose each is. `traffic` (places,)
    is in any unit, `way_s` (places, zones) there and back. None as long as capacities are not known
    in requests per second, or nobody asks.
    """
    known = stations(whole)
    asks = float(traffic.sum())
    if known is None or not asks > 0.0:
        return None
    there, now = known
    total, zones = float(there.capacity.sum()), way_s.shape[1]
    plan = now + HEADROOM * max(1.0 - now, 0.0)
    if not np.isfinite(whole.observation.utilisation).any():
        plan = max(plan, CAREFUL)
    fails = failing(whole, zone, zones) * A_FAILURE * float(np.mean(there.base_s))
    costs = way_s + fails + _unexplained_s(whole, zone, there, zones)
    rates = spread(there, costs[:, zone], min(plan, FULL) * total * traffic / asks)
    of = (zone[:, None] == np.arange(zones)).astype(np.float64)
    with np.errstate(all="ignore"):
        shares = (rates @ of) / rates.sum(axis=1, keepdims=True)
    by_capacity = (there.capacity @ of) / total
    shares = np.where(np.isfinite(shares), shares, by_capacity)
    shares = (1.0 - LEAST) * shares + LEAST * by_capacity
    if before is not None:
        shares = before + MOVE * (shares - before)
    return np.asarray(shares, np.float64)


def stations(whole: Situation) -> tuple[Destinations, float] | None:
    """The groups of all zones, and the part of their capacity that will be asked of them. None as
    long as capacities are not known in requests per second."""
    found, shared = Stations.of([whole]), whole.estimate.shared
    now = _forecast(shared) / float(found.capacity.sum())
    if not (found.known.all() and np.isfinite(now) and now > 0.0):
        return None
    proxies = np.array([max(1, whole.observation.proxies)], np.float64)
    with np.errstate(all="ignore"):
        servers = pooled(found, shared[IN_FLIGHT, None], proxies)[0]
    scv = float(np.nan_to_num(shared[SCV], nan=1.0))
    variability = np.full(len(servers), 0.5 * (ARRIVALS_SCV + scv))
    return Destinations(found.capacity[0], found.base_s[0], servers, variability), now


def took(
    whole: Situation, zone: NDArray[np.intp], there: Destinations, zones: int
) -> tuple[Floats, Floats]:
    """(zones,) seconds that requests took in this look, and that they should have taken; NaN where
    there were none."""
    look, of = whole.observation, zone[whole.grouping.index]
    samples = np.where(np.isfinite(look.latency_s), np.nan_to_num(look.latency_samples), 0.0)
    rate = whole.grouping.total(np.nan_to_num(look.rate_rps))
    with np.errstate(all="ignore"):
        spent = np.bincount(of, weights=np.nan_to_num(look.latency_s) * samples, minlength=zones)
        really = spent / np.bincount(of, weights=samples, minlength=zones)
        rho = np.minimum(rate / there.capacity, FULL)
        waits = there.base_s * (1.0 + there.variability * queueing(rho, there.servers))
        expected = np.bincount(zone, weights=rate * waits, minlength=zones)
        should = expected / np.bincount(zone, weights=rate, minlength=zones)
    return np.asarray(really, np.float64), np.asarray(should, np.float64)


def _unexplained_s(
    whole: Situation, zone: NDArray[np.intp], there: Destinations, zones: int
) -> Floats:
    """(zones,) how much longer requests took in this look than they should have."""
    really, should = took(whole, zone, there, zones)
    return np.asarray(np.maximum(np.nan_to_num(really - SURPRISED * should), 0.0), np.float64)


def _forecast(shared: Floats) -> float:
    """Requests per second that will come: as `model` takes it."""
    rising = shared[DEMAND] + max(shared[DEMAND] - shared[DEMAND_SLOW], 0.0)
    return float(max(rising, shared[DEMAND_SLOW]))


def failing(whole: Situation, zone: NDArray[np.intp], zones: int) -> Floats:
    """(zones,) how much more of its requests each fails than the best, beyond noise."""
    errors = np.nan_to_num(whole.estimate.table[ERRORS])
    of = zone[whole.grouping.index]
    mean = np.bincount(of, weights=errors, minlength=zones) / np.bincount(of, minlength=zones)
    return np.asarray(np.maximum(0.0, mean - mean.min() - ERRORS_IGNORED), np.float64)
