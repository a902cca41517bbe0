"""What is believed of the endpoints of a service, carried from tick to tick.

Shared by serving and training: whoever decides from an `Estimate` was trained on the same one.
The arithmetic is in `folding`; this is the value, and what happens when endpoints come and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from controlplane.model import folding
from controlplane.model.observation import Floats, Observation
from controlplane.model.queues import SERVERS
from controlplane.model.service import EndpointId


def _nothing() -> Floats:
    return np.empty((0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Beliefs about each endpoint, (n,) in the order of `endpoints`; NaN where nothing is known."""

    endpoints: tuple[EndpointId, ...]
    at_s: float
    capacity_rps: Floats
    """Requests per second that the endpoint could complete when busy all the time."""
    table: Floats = field(default_factory=_nothing, repr=False)
    """(rows, n) everything that is carried; the rows are named in `folding`."""
    shared: Floats = field(default_factory=_nothing, repr=False)
    """(entries,) what is believed of the service as a whole."""

    def __post_init__(self) -> None:
        if self.capacity_rps.shape != (len(self.endpoints),):
            raise ValueError("an estimate has one capacity for each endpoint")
        if self.table.shape != (folding.ROWS, len(self.endpoints)):
            object.__setattr__(self, "table", _from_capacity(self.capacity_rps))
        if self.shared.shape != (folding.SHARED,):
            object.__setattr__(self, "shared", _fresh_shared())

    @classmethod
    def unknown(cls, endpoints: tuple[EndpointId, ...], declared: Floats | None = None) -> Estimate:
        """Nothing is known yet but, perhaps, capacities that were declared (NaN: not)."""
        bare = cls(endpoints, -np.inf, np.full(len(endpoints), np.nan))
        return bare if declared is None else bare.align(endpoints, declared)

    def fold(self, observation: Observation, declared: Floats | None = None) -> Estimate:
        """The belief after one more look. Endpoints are those of the observation."""
        return fold_all([self], [observation], [declared])[0]

    def align(self, endpoints: tuple[EndpointId, ...], declared: Floats | None = None) -> Estimate:
        """The same beliefs for these endpoints: kept for those that stay.

        A new one takes the mean of its peers, scaled by what is declared, and is uncertain.
        """
        known = self
        if endpoints != self.endpoints:
            at = {endpoint: i for i, endpoint in enumerate(self.endpoints)}
            found = np.array([at.get(e, -1) for e in endpoints], dtype=np.intp)
            table = _fresh_table(len(endpoints))
            table[:, found >= 0] = self.table[:, found[found >= 0]]
            known = replace(
                self, endpoints=endpoints, capacity_rps=table[folding.CAPACITY], table=table
            )
            known = known._adopt(found < 0)
        if declared is not None and not np.array_equal(
            declared, known.table[folding.DECLARED], equal_nan=True
        ):
            table = known.table.copy()
            table[folding.DECLARED] = declared
            fresh = ~np.isfinite(table[folding.LEVEL.start])
            prior = np.where(declared > 0, folding.DECLARED_VARIANCE, folding.PRIOR_VARIANCE)
            table[folding.VARIANCE] = np.where(fresh, prior, table[folding.VARIANCE])
            known = replace(known, table=table)
        return known

    def _adopt(self, new: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Estimate:
        """Give the new endpoints what their peers have on average."""
        peers = ~new & np.isfinite(self.table[folding.CAPACITY])
        if not new.any() or not peers.any():
            return self
        table = self.table.copy()
        capacity = float(np.exp(np.log(table[folding.CAPACITY, peers]).mean()))
        table[folding.CAPACITY, new] = capacity
        return replace(self, table=table, capacity_rps=table[folding.CAPACITY])

    def _row(self, row: int | slice) -> Floats:
        return np.asarray(self.table[row])

    @property
    def declared(self) -> Floats:
        """(n,) capacity relative to the peers, as declared; NaN where it was not."""
        return self._row(folding.DECLARED)

    @property
    def base_s(self) -> Floats:
        """(n,) seconds that a request takes when it does not wait."""
        return np.asarray(np.exp(self._row(folding.SERVICE)))

    @property
    def servers(self) -> Floats:
        """(n,) how many requests an endpoint works on at once."""
        return self.capacity_rps * self.base_s

    @property
    def utilisation(self) -> Floats:
        """(n,) part of its capacity that was busy at the last look, said or inferred."""
        return self._row(folding.UTILISATION)

    @property
    def log_latency(self) -> Floats:
        """(3, n) log of the mean latency, over three horizons from short to long."""
        return self._row(folding.LATENCY)

    @property
    def error_ratio(self) -> Floats:
        """(n,) part of the requests that fail, smoothed."""
        return self._row(folding.ERRORS)

    @property
    def age_s(self) -> Floats:
        """(n,) seconds since a look last said something of the endpoint; infinite: never."""
        return self._row(folding.AGE)

    @property
    def deviation(self) -> Floats:
        """(n,) standard deviation of the log of the capacity."""
        return np.asarray(np.sqrt(self._row(folding.VARIANCE)))

    @property
    def demand_rps(self) -> float:
        """Requests per second that arrive at the service; NaN where nothing was seen."""
        return float(self.shared[folding.DEMAND])

    @property
    def forecast_rps(self) -> float:
        """What may arrive in the next seconds: a rise is continued, a fall is not yet believed."""
        now, slow = self.shared[folding.DEMAND], self.shared[folding.DEMAND_SLOW]
        return float(max(now + max(0.0, now - slow), slow))

    @property
    def busier(self) -> float:
        """The load to expect, over what `capacity_rps` makes of the demand: at least 1, and more
        the less is known of how many requests an endpoint works on at once."""
        if not self.endpoints:
            return 1.0
        one = folding.Segments.from_sizes(np.array([len(self.endpoints)], dtype=np.intp))
        return float(folding.busier(self.table, self.shared[:, None], one)[0])

    @property
    def scv(self) -> float:
        """Squared coefficient of variation of the time that a request takes."""
        return float(self.shared[folding.SCV])

    @property
    def typical_servers(self) -> float:
        """The number of servers of an endpoint that best explains all endpoints."""
        odds = folding.probabilities(self.shared[:, None])[:, 0]
        return float(np.exp((odds * np.log(np.array(SERVERS))).sum()))


def fold_all(
    estimates: Sequence[Estimate],
    observations: Sequence[Observation],
    declared: Sequence[Floats | None] | None = None,
) -> list[Estimate]:
    """One more look at each of many services at once. A look that is not newer changes nothing."""
    said = declared if declared is not None else [None] * len(observations)
    out = [
        estimate.align(look.endpoints, capacities)
        for estimate, look, capacities in zip(estimates, observations, said, strict=True)
    ]
    due = [i for i, look in enumerate(observations) if look.endpoints and look.at_s > out[i].at_s]
    if not due:
        return out
    looks = [observations[i] for i in due]
    seg = folding.Segments.from_sizes(np.array([len(o.endpoints) for o in looks], dtype=np.intp))
    window = np.array([o.window_s for o in looks])
    since = np.array([o.at_s - out[i].at_s for i, o in zip(due, looks, strict=True)])
    # The first look has only its window, and after a long silence everything is new anyway.
    since = np.where(np.isfinite(since), np.minimum(since, 300.0), window)
    look = folding.Look(
        succeeded=np.concatenate([o.succeeded for o in looks]),
        failed=np.concatenate([o.failed for o in looks]),
        in_flight=np.concatenate([o.in_flight for o in looks]),
        latency_s=np.concatenate([o.latency_s for o in looks]),
        latency_p99_s=np.concatenate([o.latency_p99_s for o in looks]),
        samples=np.concatenate([o.latency_samples for o in looks]),
        utilisation=np.concatenate([o.utilisation for o in looks]),
        age_s=np.concatenate([o.age_s for o in looks]),
        window_s=np.repeat(window, seg.sizes),
        dt_s=np.repeat(since, seg.sizes),
    )
    table, shared = folding.fold(
        np.concatenate([out[i].table for i in due], axis=1),
        np.stack([out[i].shared for i in due], axis=1),
        look,
        seg,
    )
    tables = np.split(table, seg.starts[1:], axis=1)
    for i, o, part, common in zip(due, looks, tables, shared.T, strict=True):
        out[i] = Estimate(o.endpoints, o.at_s, part[folding.CAPACITY], part, common)
    return out


def _fresh_table(n: int) -> Floats:
    table = np.full((folding.ROWS, n), np.nan)
    table[folding.VARIANCE] = folding.PRIOR_VARIANCE
    table[folding.CUSUM_UP] = table[folding.CUSUM_DOWN] = 0.0
    table[folding.SAID_AGE] = table[folding.AGE] = np.inf
    return table


def _from_capacity(capacity_rps: Floats) -> Floats:
    """A table for capacities that were told: every hypothesis begins with them."""
    table = _fresh_table(len(capacity_rps))
    with np.errstate(invalid="ignore", divide="ignore"):
        table[folding.LEVEL] = np.log(capacity_rps)
    table[folding.CAPACITY] = capacity_rps
    return table


def _fresh_shared() -> Floats:
    shared = np.full(folding.SHARED, np.nan)
    shared[folding.EVIDENCE] = 0.0
    shared[folding.SCV] = folding.SCV_PRIOR
    shared[folding.NOISE] = 1.0
    return shared
