"""How the requests of each place are spread over the zones of a Backend: as near as there is room.

Envoy's rule of zone aware routing ("Load balancing: zone aware routing" in its documentation), with
regions between zones and the world, and with requests as they are counted where Envoy takes each
proxy for as busy as every other: a zone serves of its own Envoys as much as is its part of the
capacity. What is above goes to zones of the region in proportion to the room that is left in them,
and what is above that to all others likewise. So no zone gets more than its part, and no request
goes further than it must.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controlplane.model import NOWHERE, Observation, Order, Orders, Part, Service, ServiceName, Zone
from controlplane.model.places import capacity_of, thousandths

SMOOTH_S = 30.0
"""Requests are counted over about so long: no push follows the noise of a second."""
PRIOR_RPS = 1.0
"""So many requests a second are taken to come in where the capacity is, besides those counted:
a handful tells nothing, and then all stay at home."""
HOLD = 0.05
"""Shares that differ less than this from those in force are not pushed."""
LEAST = 0.01
"""A zone gets this share of a place's requests, or none as long as the others are well."""
_NOTHING = 1e-9

Shares = Mapping[Zone, Mapping[Zone, float]]
"""By the place of the Envoys, and by zone: parts of the requests of that place."""


@dataclass(slots=True)
class _Flows:
    """Requests on their way, all as parts of 1."""

    over: dict[Zone, float]
    """Of places: what has no zone yet."""
    room: dict[Zone, float]
    given: dict[Zone, dict[Zone, float]]

    def give(self, sources: Iterable[Zone], zones: Collection[Zone]) -> None:
        """What these places have over to these zones, by the room in them, as far as it goes."""
        sources = list(sources)
        wanted, room = sum(self.over[s] for s in sources), sum(self.room[z] for z in zones)
        if wanted <= 0.0 or room <= _NOTHING:
            return
        fits = min(1.0, room / wanted)
        for zone in zones:
            part = fits * self.room[zone] / room
            for source in sources:
                self.add(source, zone, part * self.over[source])
            self.room[zone] -= part * wanted
        for source in sources:
            self.over[source] *= 1.0 - fits

    def add(self, source: Zone, zone: Zone, requests: float) -> None:
        """Settle where these go."""
        self.given[source][zone] = self.given[source].get(zone, 0.0) + requests


def spread(
    capacity: Mapping[Zone, float],
    traffic: Mapping[Zone, float],
    forced: Collection[Zone] = (),
) -> Shares:
    """The shares of every zone and region with capacity; `forced` zones keep all requests.

    Places without traffic are told what the first of their requests should do.

    >>> a, b = Zone("eu", "a"), Zone("eu", "b")
    >>> shares = spread({a: 1, b: 3}, {a: 2, b: 2})
    >>> {str(zone): round(part, 3) for zone, part in shares[a].items()}
    {'eu:a': 0.5, 'eu:b': 0.5}
    """
    whole = sum(capacity.values())
    room = {zone: own / whole for zone, own in capacity.items()}
    regions = {zone.region: [z for z in room if z.region == zone.region] for zone in room}
    sources = sorted(({*room} | {Zone(region) for region in regions}) - {NOWHERE})
    all_traffic = sum(traffic.get(s, 0.0) for s in sources) or 1.0
    asked = {s: max(traffic.get(s, 0.0) / all_traffic, _NOTHING) for s in sources}
    home = {s: asked[s] if s in forced else min(asked[s], room.get(s, 0.0)) for s in sources}
    flows = _Flows(
        over={s: asked[s] - home[s] for s in sources},
        room={z: max(0.0, room[z] - home.get(z, 0.0)) for z in room},
        given={s: {s: home[s]} if home[s] > 0.0 else {} for s in sources},
    )
    for region, zones in regions.items():
        flows.give([s for s in sources if s.region == region], zones)
    flows.give(sources, room)
    for source, over in flows.over.items():
        if over > LEAST * asked[source]:  # no room is left anywhere: as if none came before
            there = regions[source.region]
            near = sum(capacity[zone] for zone in there)
            for zone in there:
                flows.add(source, zone, over * capacity[zone] / near)
    return {s: _whole(flows.given[s]) for s in sources}


def _whole(given: Mapping[Zone, float]) -> dict[Zone, float]:
    """As parts of 1, without those that are not worth a connection."""
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
            assert service.part is not None
            found[service.name] = replace(service.part, priority=priority, weight=alone)
    return found


def _zone(service: Service) -> Zone:
    return service.part.where if service.part is not None else NOWHERE


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What is known of a Backend between two ticks."""

    parts: tuple[Service, ...]
    traffic: Mapping[Zone, float]
    """Requests a second."""
    at_s: float
    shares: Shares = field(default_factory=dict)
    orders: Mapping[Zone, Order] = field(default_factory=dict)


class Places:
    """The orders in force for every Backend that tells places apart (`Part.near`)."""

    def __init__(self) -> None:
        self._kept: dict[ServiceName, _Kept] = {}

    @property
    def orders(self) -> Orders:
        """By Backend, and by the place of the Envoys."""
        return {cluster: kept.orders for cluster, kept in self._kept.items()}

    def settle(
        self,
        services: Iterable[Service],
        looks: Mapping[ServiceName, Observation],
        held: Collection[ServiceName] = (),
    ) -> bool:
        """Take in these services, all that there are, and their newest looks. Whether an order
        changed. Services that are `held` keep theirs while their endpoints stay."""
        near: dict[ServiceName, list[Service]] = {}
        for service in services:
            if service.part is not None and service.part.near is not None:
                near.setdefault(service.cluster, []).append(service)
        before, self._kept = self._kept, {}
        changed = before.keys() != near.keys()
        for cluster, parts in near.items():
            old = before.get(cluster)
            kept = _settled(old, tuple(parts), looks[parts[0].name], parts[0].name in held)
            self._kept[cluster] = kept
            changed |= old is None or kept.orders is not old.orders
        return changed


def _settled(old: _Kept | None, parts: tuple[Service, ...], look: Observation, held: bool) -> _Kept:
    traffic = _traffic(old, look)
    same = old is not None and _alike(old.parts, parts)
    if old is not None and same and held:
        return replace(old, traffic=traffic, at_s=look.at_s)
    capacity = {_zone(one): capacity_of(one.endpoints) for one in parts}
    near = parts[0].part.near if parts[0].part is not None else None
    if near is None or sum(len(one.endpoints) for one in parts) < near.least_endpoints:
        orders = old.orders if old is not None and not old.orders else {}
        return _Kept(parts, traffic, look.at_s, orders=orders)
    forced = {
        _zone(one)
        for one in parts
        if near.forced_from is not None and len(one.endpoints) >= near.forced_from
    }
    whole = sum(capacity.values())
    assumed = {place: PRIOR_RPS * own / whole for place, own in capacity.items()}
    places = {*assumed, *traffic} - {NOWHERE}
    counted = {p: assumed.get(p, 0.0) + traffic.get(p, 0.0) for p in places}
    shares = spread(capacity, counted, forced)
    if old is not None and same and _apart(old.shares, shares) < HOLD:
        return replace(old, traffic=traffic, at_s=look.at_s)
    orders = {place: order(place, shares[place], parts) for place in shares}
    return _Kept(parts, traffic, look.at_s, shares, orders)


def _traffic(old: _Kept | None, look: Observation) -> Mapping[Zone, float]:
    """Requests a second by place, smoothed."""
    before = old.traffic if old is not None else {}
    if not look.by_place or (old is not None and look.at_s <= old.at_s):
        return before
    now = {place: requests / look.window_s for place, requests in look.by_place.items()}
    if old is None or not before:
        return now
    kept = math.exp(-(look.at_s - old.at_s) / SMOOTH_S)
    return {
        place: kept * before.get(place, 0.0) + (1.0 - kept) * now.get(place, 0.0)
        for place in {*before, *now}
    }


def _alike(some: Sequence[Service], others: Sequence[Service]) -> bool:
    return some is others or [(one.name, one.part, one.endpoints) for one in some] == [
        (one.name, one.part, one.endpoints) for one in others
    ]


def _apart(some: Shares, others: Shares) -> float:
    """The greatest change of the requests of a place, as a part of them."""
    if some.keys() != others.keys():
        return 1.0
    return max(
        sum(abs(some[place].get(z, 0.0) - there.get(z, 0.0)) for z in {*some[place], *there}) / 2
        for place, there in others.items()
    )
