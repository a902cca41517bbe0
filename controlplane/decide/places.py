"""How the requests of each place are spread over the zones of a Backend: as near as there is room.

Within a region it is Envoy's rule of zone aware routing ("Load balancing: zone aware routing" in
its documentation), with requests as they are counted where Envoy takes each proxy for as busy as
every other. A zone serves of its own Envoys as much as is its part of the region's capacity; what
is above goes to the other zones in proportion to the room that is left in them. So all endpoints of
a region are equally busy, and no request goes further than it must.

Between regions the way is long, so a region may be busier than others: it keeps its requests until
they are `slack` times its part of all capacity. What is above goes to the regions with room below
that, in proportion to it.

With `Near.least_time` requests go where they take least time instead (`least_time`), once enough is
known for that.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controlplane.decide.least_time import Regional, Shares
from controlplane.model import NOWHERE, Observation, Order, Orders, Part, Service, ServiceName, Zone
from controlplane.model.crossing import ChecksZones, Served
from controlplane.model.places import capacity_of, thousandths

SMOOTH_S = 30.0
"""Requests are counted over about so long: no push follows the noise of a second."""
PRIOR = 100.0
"""So many requests are taken to come in where the capacity is, besides those counted: a handful
tells nothing, and then all stay at home."""
HOLD = 0.05
"""Orders are pushed when this part of all requests goes elsewhere by them, or when the load of a
zone changes by this part of what its capacity says."""
LEAST = 0.01
"""A zone gets this share of a place's requests, or none as long as the others are well."""


@dataclass(frozen=True, slots=True)
class _Region:
    """What a region's zones get, all as parts of all requests or of all capacity."""

    zones: Mapping[Zone, float]
    """Their capacity."""
    asked: float
    forced: float
    """Of what is asked: what does not go elsewhere whatever happens."""

    @property
    def capacity(self) -> float:
        """Of all its zones."""
        return sum(self.zones.values())

    def kept(self, slack: float) -> float:
        """The part of its requests that stays, of those that may go elsewhere."""
        free = self.asked - self.forced
        most = max(0.0, slack * self.capacity - self.forced)
        return min(1.0, most / free) if free > 0.0 else 1.0

    def over(self, slack: float) -> float:
        """What goes elsewhere."""
        return (1.0 - self.kept(slack)) * (self.asked - self.forced)

    def room(self, slack: float) -> float:
        """What may come from elsewhere."""
        return max(0.0, slack * self.capacity - self.asked)


def spread(
    capacity: Mapping[Zone, float],
    traffic: Mapping[Zone, float],
    forced: Collection[Zone] = (),
    slack: float = 1.4,
) -> Shares:
    """The shares of every zone and region that has capacity; `forced` zones keep all requests.

    Places without traffic are told what the first of their requests should do.

    >>> a, b = Zone("eu", "a"), Zone("eu", "b")
    >>> shares = spread({a: 1, b: 3}, {a: 2, b: 2})
    >>> {str(zone): part for zone, part in shares[a].items()}
    {'eu:a': 0.5, 'eu:b': 0.5}
    """
    whole = sum(capacity.values())
    names = {zone.region for zone in capacity}
    sources = sorted(({*capacity} | {Zone(name) for name in names}) - {NOWHERE})
    all_traffic = sum(traffic.get(s, 0.0) for s in sources) or 1.0
    asked = {s: traffic.get(s, 0.0) / all_traffic for s in sources}
    regions = {
        name: _Region(
            {zone: own / whole for zone, own in capacity.items() if zone.region == name},
            sum(part for s, part in asked.items() if s.region == name),
            sum(part for s, part in asked.items() if s.region == name and s in forced),
        )
        for name in names
    }
    over = sum(one.over(slack) for one in regions.values())
    room = sum(one.room(slack) for one in regions.values())
    gets = {name: one.room(slack) / room if room > 0.0 else 0.0 for name, one in regions.items()}
    home: dict[Zone, float] = {}
    left: dict[str, dict[Zone, float]] = {}
    for name, one in regions.items():
        stays = one.kept(slack)
        load = one.asked - one.over(slack) + gets[name] * over
        wanted = {zone: load * own / one.capacity for zone, own in one.zones.items()}
        here = [source for source in sources if source.region == name]
        home |= {s: _home(asked[s], wanted.get(s), stays, s in forced) for s in here}
        spare = {z: max(0.0, wanted[z] - asked.get(z, 0.0) * home.get(z, 0.0)) for z in wanted}
        left[name] = _parts(spare) or _parts(one.zones)
    shares = {}
    for source in sources:
        region = regions[source.region]
        shares[source] = _given(source, home[source], left, gets, region.kept(slack))
        if not asked[source] and source not in capacity:  # the room is noise as long as nobody asks
            shares[source] = _parts(region.zones)
    return shares


def _home(asked: float, wanted: float | None, stays: float, forced: bool) -> float:
    """The part of a place's requests that its zone serves; `wanted` is None where it is none."""
    if wanted is None:
        return 0.0
    if forced:
        return 1.0
    return min(stays, wanted / asked) if asked > 0.0 else stays


def _parts(of: Mapping[Zone, float]) -> dict[Zone, float]:
    total = sum(of.values())
    return {zone: one / total for zone, one in of.items()} if total > LEAST**3 else {}


def _given(
    source: Zone,
    home: float,
    left: Mapping[str, Mapping[Zone, float]],
    gets: Mapping[str, float],
    stays: float,
) -> dict[Zone, float]:
    """The shares of one place."""
    given = {source: home} if home > 0.0 else {}
    stays = max(stays, home)  # all of it, where that is forced
    by_region = {name: (1.0 - stays) * part for name, part in gets.items()}
    by_region[source.region] = by_region.get(source.region, 0.0) + stays - home
    for name, part in by_region.items():
        for zone, own in left[name].items():
            given[zone] = given.get(zone, 0.0) + part * own
    return _whole(given)


def _whole(given: Mapping[Zone, float]) -> dict[Zone, float]:
    """As parts of 1, without those that are next to nothing."""
    total = sum(given.values())
    some = {zone: part for zone, part in given.items() if part >= LEAST * total}
    left = sum(some.values())
    return {zone: part / left for zone, part in some.items()}


def order(where: Zone, shares: Mapping[Zone, float], parts: Sequence[Service]) -> Order:
    """What the Envoys of a place are told of the parts of a Backend: those with a share first, and
    for when these are not well the others of the region, and then all others."""
    levels: dict[int, list[tuple[Service, float]]] = {}
    for service in parts:
        zone = _zone(service)
        level = 0 if zone in shares else 1 if zone.region == where.region else 2
        weight = shares.get(zone, capacity_of(service.endpoints))
        levels.setdefault(level, []).append((service, weight))
    found: dict[ServiceName, Part] = {}
    for priority, level in enumerate(sorted(levels)):  # Envoy takes no gaps between priorities
        here = levels[level]
        weights = thousandths([weight for _, weight in here])
        for (service, _), weight in zip(here, weights, strict=True):
            alone = None if len(here) == 1 else weight
            found[service.name] = replace(_part(service), priority=priority, weight=alone)
    return found


def as_one(parts: Sequence[Service]) -> Order:
    """That all endpoints of all parts are one to the Envoys."""
    return {one.name: replace(_part(one), priority=0, weight=None, together=True) for one in parts}


def _part(service: Service) -> Part:
    assert service.part is not None, "a zone of a Backend is a part"
    return service.part


def _zone(service: Service) -> Zone:
    return _part(service).where


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What is known of a Backend between two ticks."""

    parts: tuple[Service, ...]
    traffic: Mapping[Zone, float]
    """Requests by the place of the Envoys, the less the longer ago."""
    at_s: float
    shares: Shares = field(default_factory=dict)
    regional: Regional | None = None
    """What is known for `Near.least_time`."""
    orders: Mapping[Zone, Order] = field(default_factory=dict)


class Places:
    """The orders in force for every Backend that tells places apart (`Part.near`)."""

    def __init__(
        self,
        check: ChecksZones,
        resumed: Mapping[ServiceName, Mapping[Zone, Served]] | None = None,
    ) -> None:
        """`check` guards splits between zones. `resumed`: by part, what an earlier process kept."""
        self._check = check
        self._resumed = dict(resumed or {})
        self._kept: dict[ServiceName, _Kept] = {}

    @property
    def orders(self) -> Orders:
        """By Backend, and by the place of the Envoys."""
        return {cluster: kept.orders for cluster, kept in self._kept.items()}

    def known(self, cluster: ServiceName) -> Regional | None:
        """What is known of a Backend whose requests go where they take least time."""
        kept = self._kept.get(cluster)
        return kept.regional if kept is not None else None

    def served(self, service: Service) -> Mapping[Zone, Served]:
        """What to keep of a part over a restart, by the place of the Envoys."""
        kept = self._kept.get(service.cluster)
        return _served(kept, service) if kept is not None else {}

    def take_over(self, handed: Mapping[ServiceName, Mapping[Zone, Served]]) -> None:
        """At the next `settle` these are in force, by part: another replica settled them."""
        self._resumed.update(handed)

    def settle(
        self,
        services: Iterable[Service],
        looks: Mapping[ServiceName, Observation],
        held: Collection[ServiceName] = (),
        now_s: float | None = None,
    ) -> frozenset[ServiceName]:
        """Take in these services, all that there are, and their newest looks. The Backends whose
        orders changed. Services that are `held` keep theirs while their endpoints stay. `now_s` on
        the clock of the looks; None: the newest is of now."""
        near: dict[ServiceName, list[Service]] = {}
        for service in services:
            if service.part is not None and service.part.near is not None:
                near.setdefault(service.cluster, []).append(service)
        before, self._kept = self._kept, {}
        changed = set(before.keys() ^ near.keys())
        for cluster, parts in near.items():
            old = before.get(cluster)
            seen = [looks[part.name] for part in parts]
            kept = self._resume(tuple(parts), seen[0])
            if kept is None:
                at_s = seen[0].at_s if now_s is None else now_s
                kept = _settled(old, tuple(parts), seen, parts[0].name in held, self._check, at_s)
            elif old is not None and kept.orders == old.orders:
                kept = replace(kept, orders=old.orders)  # the very same: nobody is to be told
            self._kept[cluster] = kept
            if old is None or kept.orders is not old.orders:
                changed.add(cluster)
        return frozenset(changed)

    def _resume(self, parts: tuple[Service, ...], look: Observation) -> _Kept | None:
        """What was in force when an earlier process ended, or is elsewhere, where it is of these
        zones."""
        found = {part.name: self._resumed.pop(part.name, {}) for part in parts}
        places = {frozenset(one) for one in found.values()}
        if len(places) != 1 or not (where := next(iter(places))):
            return None
        return _resumed(parts, found, sorted(where), look)


def _resumed(
    parts: tuple[Service, ...],
    found: Mapping[ServiceName, Mapping[Zone, Served]],
    places: Sequence[Zone],
    look: Observation,
) -> _Kept:
    orders, shares = {}, {}
    for place in places:
        here = [(one, found[one.name][place]) for one in parts]
        orders[place] = {
            one.name: replace(_part(one), priority=s.priority, weight=s.weight, together=s.together)
            for one, s in here
        }
        first = {_zone(one): float(s.weight or 1) for one, s in here if s.priority == 0}
        shares[place] = {zone: weight / sum(first.values()) for zone, weight in first.items()}
    traffic = {place: found[parts[0].name][place].requests for place in places}
    kept = _Kept(parts, traffic, look.at_s, shares, None, orders)
    near = _part(parts[0]).near
    if near is None or not near.least_time:
        return kept
    ways = {
        (place, _zone(one)): (found[one.name][place].way_s, found[one.name][place].measured)
        for one in parts
        for place in places
    }
    together = all(part.together for order in orders.values() for part in order.values())
    zones = [_zone(one) for one in parts]
    regional = Regional.fresh(parts, zones).resumed(ways, shares, together)
    return replace(kept, regional=regional)


def _served(kept: _Kept, service: Service) -> Mapping[Zone, Served]:
    known = kept.regional
    found = {}
    for place, order in kept.orders.items():
        part = order[service.name]
        way_s, measured = known.way(place, _zone(service)) if known is not None else (0.0, 0.0)
        found[place] = Served(
            part.priority,
            part.weight,
            part.together,
            kept.traffic.get(place, 0.0),
            way_s,
            measured,
        )
    return found


def _settled(
    old: _Kept | None,
    parts: tuple[Service, ...],
    looks: Sequence[Observation],
    held: bool,
    check: ChecksZones,
    now_s: float,
) -> _Kept:
    look = looks[0]
    traffic = _traffic(old, look)
    same = old is not None and _alike(old.parts, parts)
    if old is not None and same and held:
        return replace(old, traffic=traffic, at_s=look.at_s)
    capacity = {_zone(one): capacity_of(one.endpoints) for one in parts}
    near = _part(parts[0]).near
    if near is None or sum(len(one.endpoints) for one in parts) < near.least_endpoints:
        orders = old.orders if old is not None and not old.orders else {}
        return _Kept(parts, traffic, look.at_s, orders=orders)
    forced = {
        _zone(one)
        for one in parts
        if near.forced_from is not None and len(one.endpoints) >= near.forced_from
    }
    whole = sum(capacity.values())
    assumed = {place: PRIOR * own / whole for place, own in capacity.items()}
    places = {*assumed, *traffic} - {NOWHERE}
    counted = {p: assumed.get(p, 0.0) + traffic.get(p, 0.0) for p in places}
    shares = spread(capacity, counted, forced, _part(parts[0]).overprovisioning_factor / 100)
    regional = None
    if near.least_time:
        regional = _regional(old, same, parts, looks, counted).guarded(parts, shares, check, now_s)
        shares = regional.told() or shares
    as_before = old is not None and _is_one(old) == (regional is not None and regional.alarm.on)
    if (
        old is not None
        and same
        and as_before
        and (_is_one(old) or _apart(old.shares, shares, counted, capacity) < HOLD)
    ):
        return replace(old, traffic=traffic, at_s=look.at_s, regional=regional)
    if regional is not None and regional.alarm.on:
        orders = dict.fromkeys(shares, as_one(parts))
    else:
        orders = {place: order(place, shares[place], parts) for place in shares}
    return _Kept(parts, traffic, look.at_s, shares, regional, orders)


def _is_one(kept: _Kept) -> bool:
    return kept.regional is not None and any(
        part.together for order in kept.orders.values() for part in order.values()
    )


def _regional(
    old: _Kept | None,
    same: bool,
    parts: tuple[Service, ...],
    looks: Sequence[Observation],
    counted: Mapping[Zone, float],
) -> Regional:
    """What is known with these looks; anew where zones or endpoints are others."""
    before = old.regional if old is not None and same else None
    if before is None:
        before = Regional.fresh(parts, [_zone(one) for one in parts])
    return before.folded(parts, looks, counted)


def _traffic(old: _Kept | None, look: Observation) -> Mapping[Zone, float]:
    """The requests of a look added to those of before. Windows of looks overlap."""
    before = old.traffic if old is not None else {}
    if not look.by_place or (old is not None and look.at_s <= old.at_s):
        return before
    if old is None or not before:
        return look.by_place
    since_s = look.at_s - old.at_s if math.isfinite(old.at_s) else look.window_s
    fades, new = math.exp(-since_s / SMOOTH_S), since_s / look.window_s
    return {
        place: fades * before.get(place, 0.0) + new * look.by_place.get(place, 0.0)
        for place in {*before, *look.by_place}
    }


def _alike(some: Sequence[Service], others: Sequence[Service]) -> bool:
    return some is others or [(one.name, one.part, one.endpoints) for one in some] == [
        (one.name, one.part, one.endpoints) for one in others
    ]


def _apart(
    some: Shares, others: Shares, traffic: Mapping[Zone, float], capacity: Mapping[Zone, float]
) -> float:
    """How much it matters which of them is in force, for these requests: see `HOLD`."""
    if some.keys() != others.keys():
        return 1.0
    whole, requests = sum(capacity.values()), sum(traffic.get(place, 0.0) for place in others)
    elsewhere, loads = 0.0, dict.fromkeys(capacity, 0.0)
    for place, there in others.items():
        part = traffic.get(place, 0.0) / requests
        for zone in {*some[place], *there}:
            change = part * (there.get(zone, 0.0) - some[place].get(zone, 0.0))
            elsewhere += abs(change) / 2
            loads[zone] += change
    return max(elsewhere, *(abs(load) * whole / capacity[z] for z, load in loads.items()))
