"""What is known of a Backend whose zones are chosen by time: ways, one belief, and shares.

The parts of the Backend are looked at as one service, as if every Envoy stood beside the endpoints:
the way there is measured and taken off. Then `between` shares out the requests of each place, and
the guard says what of that may be sent. While no split is safe (`together`) there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.decide.declared import declared_capacities
from controlplane.decide.regions import between
from controlplane.decide.together import Alarm
from controlplane.model import Estimate, Grouping, Observation, Reason, Service, Situation, Zone
from controlplane.model.crossing import Between, ChecksZones, Crossing
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
    alarm: Alarm = field(default_factory=Alarm)
    whole: Situation | None = None
    """All zones as one service at the newest look, whose groups are the zones."""
    asked: Floats | None = None
    """(places,) requests, as counted then."""
    wanted: Floats | None = None
    """(places, zones) as decided then; None as long as capacities are not known."""
    shares: Floats | None = None
    """(places, zones) as the guard let it through last, or as resumed."""
    reasons: tuple[Reason, ...] = ()
    """Why that is not as wanted."""

    @classmethod
    def fresh(cls, parts: Sequence[Service], zones: Sequence[Zone]) -> Regional:
        """Nothing was seen yet."""
        places = sorted({*zones} | {Zone(zone.region) for zone in zones})
        endpoints = tuple(one.id for part in parts for one in part.endpoints)
        unknown = Estimate.unknown(endpoints, _declared(parts))
        return cls(tuple(places), tuple(zones), Ways.unknown(len(places)), unknown)

    def resumed(
        self, ways: Mapping[tuple[Zone, Zone], tuple[float, float]], shares: Shares, together: bool
    ) -> Regional:
        """As an earlier process left it: ways from place to zone with how sure they are, and the
        shares in force."""
        sure, home = np.zeros_like(self.ways.weight), self._home()
        sums = np.zeros_like(sure)
        for (place, zone), (way_s, measured) in ways.items():
            if place in self.places:
                at = self.places.index(place), home[self.zones.index(zone)]
                sure[at], sums[at] = measured, measured * way_s
        rows = [[shares.get(p, {}).get(z, 0.0) for z in self.zones] for p in self.places]
        table = np.array(rows)
        whole = bool((table.sum(axis=1) > 0.0).all())
        return replace(
            self, ways=Ways(sums, sure), shares=table if whole else None, alarm=Alarm(together)
        )

    def way(self, place: Zone, zone: Zone) -> tuple[float, float]:
        """Seconds from the Envoys of a place to a zone, there and back, and how sure that is."""
        if place not in self.places or zone not in self.zones:
            return 0.0, 0.0
        at = self.places.index(place), self.places.index(zone)
        return float(self.ways.seconds[at]), float(self.ways.weight[at])

    def _home(self) -> NDArray[np.intp]:
        """(zones,) where they are among the places."""
        return np.array([self.places.index(one) for one in self.zones], np.intp)

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
        home = self._home()
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
        each = np.arange(len(parts))
        wanted = between(whole, each, asked, ways.seconds[:, home], self.shares)
        alarm = self.alarm.next(whole, each, names)
        return replace(
            self,
            ways=ways,
            estimate=estimate,
            alarm=alarm,
            whole=whole,
            asked=asked,
            wanted=self.wanted if wanted is None else wanted,
        )

    def guarded(
        self, parts: Sequence[Service], baseline: Shares, check: ChecksZones, now_s: float
    ) -> Regional:
        """With what may be sent now. `baseline` is what needs no latencies."""
        if self.whole is None or self.asked is None or self.wanted is None:
            return self
        if self.alarm.on:
            return replace(self, shares=self._by_capacity(), reasons=())
        even = np.array([[baseline[p].get(z, 0.0) for z in self.zones] for p in self.places])
        before = even if self.shares is None else self.shares
        declared = tuple(one for part in parts for one in part.endpoints)
        crossing = Crossing(
            self.places, self.whole, declared, self.asked, self.wanted, before, even
        )
        allowed = check(crossing, now_s)
        return replace(self, shares=allowed.shares, reasons=allowed.reasons)

    @property
    def why(self) -> Between:
        """For whoever asks."""
        ways = {
            (place, zone): way_s
            for place in self.places
            for zone in self.zones
            for way_s, measured in [self.way(place, zone)]
            if measured > 0.0
        }
        if self.alarm.on:
            return Between("together", ways, (Reason("flooded", self.alarm.why or "as before"),))
        mode = "room" if self.shares is None else "least-time"
        return Between(mode, ways, self.reasons)

    def _by_capacity(self) -> Floats:
        """(places, zones) what one full scan over all endpoints comes to."""
        capacity = self.estimate.capacity_rps
        assert self.whole is not None
        grouping = self.whole.grouping
        zones = grouping.total(np.nan_to_num(capacity, nan=float(np.nanmean(capacity))))
        return np.tile(zones / zones.sum(), (len(self.places), 1))

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
