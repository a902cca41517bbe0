"""`locality` of a `BalancingPolicy`: which places serve first, and which when these cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from controlplane.model import IN_PLACE, Endpoint, Part, Service, ServiceName
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


class Locality(Fields):
    """Where requests go by place. Each place is balanced, and guarded, as a service of its own."""

    failover: tuple[Level, ...] = Field(
        min_length=1,
        max_length=8,
        description="The first serves; each other as far as those before it have too few healthy "
        "endpoints. Endpoints of places that are not named come last.",
    )
    overprovisioning_factor: Annotated[Integer, Field(ge=100, le=10_000)] = Field(
        default=140,
        description="In percent: at 140 a level takes all requests until less than 72 % of its "
        "endpoints are healthy, and then so many times its healthy part.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Locality:
        twice = first_twice([place.name for level in self.failover for place in level.places])
        if twice is not None:
            raise ValueError(f"place {twice!r} is named twice; keep one of them")
        return self


def in_parts(service: Service, locality: Locality | None) -> Iterator[Service]:
    """A service for each place that has endpoints; the service itself where there is no such wish,
    or no endpoint at all. An endpoint belongs to the first place that takes it."""
    if locality is None or not service.endpoints:
        yield service
        return
    found = list(_levels(service.endpoints, locality))
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


def _levels(endpoints: tuple[Endpoint, ...], locality: Locality) -> Iterator[_Level]:
    left = list(endpoints)
    for level in locality.failover:
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
