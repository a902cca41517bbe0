"""What is known of a Backend whose zones are chosen by time: ways, one belief, and shares.

The parts of the Backend are looked at as one service, as if every Envoy stood beside the endpoints:
the way there is measured and taken off. Then `between` shares out the requests of each place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.decide.declared import declared_capacities
from controlplane.decide.regions import between
from controlplane.model import Estimate, Grouping, Observation, Service, Situation, Zone
from controlplane.model.observation import PER_ENDPOINT, Floats
from controlplane.model.regions import Ways

FLOOR_S = 1e-4
"""What is left of a latency without its way is at least this."""
LONGEST_S = 5.0
"""A look is taken to follow the one before by at most this: ways fade no faster."""

Shares = Mapping[Zone, Mapping[Zone, float]]
"""By the place of the Envoys, and by zone: parts of the requests of that place."""


@dataclass(frozen=True, slots=True, eq=False)
class Regional:
    """Between two looks at a Backend."""

    places: tuple[Zone, ...]
    """Of Envoys: every zone, and every region."""
    zones: tuple[Zone, ...]
    ways: Ways
    """Square, in the order of `places`."""
    estimate: Estimate
    shares: Floats | None = None
    """(places, zones) as decided last; None as long as capacities are not known."""

    @classmethod
    def fresh(cls, parts: Sequence[Service], zones: Sequence[Zone]) -> Regional:
        """Nothing was seen yet."""
        places = sorted({*zones} | {Zone(zone.region) for zone in zones})
        endpoints = tuple(one.id for part in parts for one in part.endpoints)
        unknown = Estimate.unknown(endpoints, _declared(parts))
        return cls(tuple(places), tuple(zones), Ways.unknown(len(places)), unknown)

    def folded(
        self,
        parts: Sequence[Service],
        looks: Sequence[Observation],
        traffic: Mapping[Zone, float],
    ) -> Regional:
        """With one more look at each part, in the order of `zones`."""
        sizes = [len(part.endpoints) for part in parts]
        zone = np.repeat(np.arange(len(parts)), sizes)
        look = _together(looks)
        if look.at_s <= self.estimate.at_s:
            return self
        home = np.array([self.places.index(one) for one in self.zones], np.intp)
        latency_s, samples = self._seen(look)
        since_s = min(look.at_s - self.estimate.at_s, LONGEST_S)
        ways = self.ways.fold(latency_s, samples, home[zone], since_s)
        plain = without_the_way(look, samples, ways.seconds[:, home[zone]])
        estimate = self.estimate.fold(plain, _declared(parts))
        names = tuple(str(one) for one in self.zones)
        size = np.array(sizes, np.float64)
        grouping = Grouping(look.endpoints, names, zone)
        whole = Situation(parts[0], plain, estimate, grouping, size / size.sum())
        asked = np.array([traffic.get(place, 0.0) for place in self.places])
        way_s = ways.seconds[:, home]
        shares = between(whole, np.arange(len(parts)), asked, way_s, self.shares)
        kept = self.shares if shares is None else shares
        return replace(self, ways=ways, estimate=estimate, shares=kept)

    def told(self) -> Shares | None:
        """The shares by name."""
        if self.shares is None:
            return None
        return {
            place: dict(zip(self.zones, row.tolist(), strict=True))
            for place, row in zip(self.places, self.shares, strict=True)
        }

    def _seen(self, look: Observation) -> tuple[Floats, Floats]:
        """(places, n) mean latencies, and of how many requests."""
        n = len(look.endpoints)
        nothing = np.stack([np.full(n, np.nan), np.zeros(n)])
        rows = np.stack([look.latency_by_place.get(place, nothing) for place in self.places])
        return rows[:, 0], rows[:, 1]


def without_the_way(look: Observation, samples: Floats, way_s: Floats) -> Observation:
    """The look as if every Envoy stood beside the endpoints.

    (places, n) of how many requests each place knows the latency, which says how many it sends; and
    how long their way is, there and back.
    """
    with np.errstate(all="ignore"):
        mean_s = np.nan_to_num((samples * way_s).sum(axis=0) / samples.sum(axis=0))
    return replace(
        look,
        latency_s=np.maximum(look.latency_s - mean_s, FLOOR_S),
        latency_p99_s=np.maximum(look.latency_p99_s - mean_s, FLOOR_S),
        in_flight=np.maximum(look.in_flight - look.rate_rps * mean_s, 0.0),
    )


def _together(looks: Sequence[Observation]) -> Observation:
    """One look at the endpoints of all parts, whose numbers are of the same Envoys."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(look, name) for look in looks]) for name in PER_ENDPOINT
    }
    places = {place for look in looks for place in look.latency_by_place}
    by_place = {
        place: np.concatenate([_rows(look, place) for look in looks], axis=1) for place in places
    }
    endpoints = tuple(one for look in looks for one in look.endpoints)
    return replace(looks[0], endpoints=endpoints, latency_by_place=by_place, **columns)


def _rows(look: Observation, place: Zone) -> Floats:
    nothing = np.stack([np.full(len(look.endpoints), np.nan), np.zeros(len(look.endpoints))])
    return look.latency_by_place.get(place, nothing)


def _declared(parts: Sequence[Service]) -> NDArray[np.float64] | None:
    return declared_capacities(tuple(one for part in parts for one in part.endpoints))
