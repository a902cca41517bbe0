"""`locality` of a `BalancingPolicy`: which places serve first, and which when these cannot.

One order for all Envoys (`failover`), or the place of each Envoy first (`zoneAware`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from controlplane.model import IN_PLACE, Endpoint, Near, Part, Service, ServiceName
from controlplane.model.places import capacity_of, thousandths
from controlplane.resources.kinds import Fields, Integer, first_twice

PlaceName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
"""As Kubernetes takes the value of a label."""
REST = "*"
"""Stands for all places that are not named."""


class Place(Fields):
    """Endpoints of a region, or of one of its zones."""

    region: PlaceName = Field(
        description="Their label `topology.kubernetes.io/region`, of the endpoint."
    )
    zone: PlaceName | None = Field(default=None, description="Their `zone`; not given: all.")
    weight: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        default=1, description="Its part of the requests, among the places beside it."
    )

    @property
    def name(self) -> str:
        """`region` or `region:zone`."""
        return self.region if self.zone is None else f"{self.region}:{self.zone}"

    def takes(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint is there."""
        where = endpoint.where
        return where.region == self.region and self.zone in (None, where.zone)


class Level(Fields):
    """Places that serve at the same time."""

    places: tuple[Place, ...] = Field(
        min_length=1, max_length=8, description="They share the requests by `weight`."
    )


Count = Annotated[Integer, Field(ge=1, le=10_000)]


class Force(Fields):
    """That a zone takes all requests of its own Envoys."""

    min_endpoints_in_zone_threshold: Count = Field(
        default=1,
        description="Of zones with this many endpoints and more; the others take their part.",
    )


class PreferLocal(Fields):
    """How requests stay where they come in."""

    min_endpoints_threshold: Count = Field(
        default=1,
        description="With fewer endpoints in all places together none is told apart.",
    )
    force: Force | None = Field(
        default=None,
        description="Not given: a zone takes of its own Envoys as much as is its part of the "
        "capacity, and the rest of their requests goes where there is room.",
    )


class LeastTime(Fields):
    """Requests go where they take least time: the way there, waiting and failures are measured."""

    min_endpoints_threshold: Count = Field(
        default=1,
        description="With fewer endpoints in all places together none is told apart.",
    )


class ZoneAware(Fields):
    """The Envoys of each place have an order of their own: `preferLocal` or `leastTime`."""

    prefer_local: PreferLocal | None = Field(
        default=None,
        description="Each sends to its own zone first, then to its region, then anywhere. `{}` "
        "will do. The place of an Envoy is its `node.locality`.",
    )
    least_time: LeastTime | None = Field(
        default=None,
        description="Each sends to all zones, to each as much as makes all requests take least "
        "time. As long as too little is known it is as `preferLocal`. Wants access logs.",
    )

    @model_validator(mode="after")
    def _one(self) -> ZoneAware:
        if (self.prefer_local is None) == (self.least_time is None):
            raise ValueError("wanted either preferLocal or leastTime, exactly one of them")
        return self

    @property
    def near(self) -> Near:
        """The same as the value that decisions rest on."""
        if self.least_time is not None:
            return Near(self.least_time.min_endpoints_threshold, least_time=True)
        said = self.prefer_local or PreferLocal()
        forced = said.force.min_endpoints_in_zone_threshold if said.force is not None else None
        return Near(said.min_endpoints_threshold, forced)


class Locality(Fields):
    """Where requests go by place: `failover` or `zoneAware`. Each place is balanced, and guarded,
    as a service of its own."""

    failover: tuple[Level, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=8,
        description="The first serves; each other as far as those before it have too few healthy "
        "endpoints. Endpoints of places that are not named come last.",
    )
    zone_aware: ZoneAware | None = Field(
        default=None, description="Another order for the Envoys of each place."
    )
    overprovisioning_factor: Annotated[Integer, Field(ge=100, le=10_000)] = Field(
        default=140,
        description="In percent: at 140 a level takes all requests until less than 72 % of its "
        "endpoints are healthy, and then so many times its healthy part.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Locality:
        if (self.failover is None) == (self.zone_aware is None):
            raise ValueError("wanted either failover or zoneAware, exactly one of them")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Locality:
        twice = first_twice([place.name for level in self.failover or () for place in level.places])
        if twice is not None:
            raise ValueError(f"place {twice!r} is named twice; keep one of them")
        return self


def in_parts(service: Service, locality: Locality | None) -> Iterator[Service]:
    """A service for each place that has endpoints; the service itself where there is no such wish,
    or no endpoint at all. An endpoint belongs to the first place that takes it."""
    if locality is None or not service.endpoints:
        yield service
    elif locality.zone_aware is not None:
        yield from _zones(service, locality.zone_aware.near, locality.overprovisioning_factor)
    else:
        yield from _in_order(service, locality)


def _in_order(service: Service, locality: Locality) -> Iterator[Service]:
    found = list(_levels(service.endpoints, locality.failover or ()))
    leaving = list(service.draining)
    for priority, level in enumerate(found):  # Envoy takes no gaps between priorities
        for place, here in level.items():
            weight = place.weight if place is not None and len(level) > 1 else None
            last = priority == len(found) - 1 and place is list(level)[-1]
            draining = tuple(one for one in leaving if last or (place and place.takes(one)))
            leaving = [one for one in leaving if one not in draining]
            yield replace(
                service,
                name=ServiceName(f"{service.name}{IN_PLACE}{place.name if place else REST}"),
                endpoints=here,
                draining=draining,
                part=Part(priority, weight, locality.overprovisioning_factor),
            )


_Level = dict[Place | None, tuple[Endpoint, ...]]
"""The endpoints of each place that has some; None: those of no place that is named."""


def _levels(endpoints: tuple[Endpoint, ...], levels: Iterable[Level]) -> Iterator[_Level]:
    left = list(endpoints)
    for level in levels:
        found: _Level = {}
        for place in level.places:
            here = tuple(one for one in left if place.takes(one))
            left = [one for one in left if not place.takes(one)]
            if here:
                found[place] = here
        if found:
            yield found
    if left:
        yield {None: tuple(left)}


def _zones(service: Service, near: Near, factor: int) -> Iterator[Service]:
    """Each zone, with its part of the capacity for Envoys of which no place is known."""
    zones: dict[str, list[Endpoint]] = {}
    for endpoint in sorted(service.endpoints, key=lambda one: one.where):
        zones.setdefault(str(endpoint.where), []).append(endpoint)
    parts = thousandths([capacity_of(here) for here in zones.values()])
    leaving = list(service.draining)
    for (zone, here), part in zip(zones.items(), parts, strict=True):
        last = zone == list(zones)[-1]
        draining = tuple(one for one in leaving if last or str(one.where) == zone)
        leaving = [one for one in leaving if one not in draining]
        yield replace(
            service,
            name=ServiceName(f"{service.name}{IN_PLACE}{zone}"),
            endpoints=tuple(here),
            draining=draining,
            part=Part(0, part if len(zones) > 1 else None, factor, here[0].where, near),
        )
