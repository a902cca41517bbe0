"""Which place an Envoy is of, and where the requests of each place go first."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence

from controlplane.model.service import NOWHERE, Endpoint, Part, ServiceName, Zone

Order = Mapping[ServiceName, Part]
"""Of the parts of a cluster: their priorities and weights for the Envoys of one place."""

Orders = Mapping[ServiceName, Mapping[Zone, Order]]
"""By cluster, and by the place of the Envoys."""


def places_of(endpoints: Iterable[Endpoint]) -> frozenset[Zone]:
    """The places that have endpoints: zones and regions."""
    zones = {endpoint.where for endpoint in endpoints}
    return frozenset((zones | {Zone(zone.region) for zone in zones}) - {NOWHERE})


def nearest(where: Zone, places: Container[Zone]) -> Zone | None:
    """The one of these places that an Envoy is of: its zone, or else its region.

    >>> eu = Zone("eu")
    >>> nearest(Zone("eu", "a"), {eu}), nearest(Zone("us", "a"), {eu}), nearest(Zone(), {eu})
    (Zone(region='eu', zone=''), None, None)
    """
    if where in places:
        return where
    region = Zone(where.region)
    return region if region in places else None


def capacity_of(endpoints: Iterable[Endpoint]) -> float:
    """What these can take together, as it is declared: 1 for each of which nothing is."""
    return sum(map(_capacity, endpoints))


def _capacity(endpoint: Endpoint) -> float:
    """A label is text that anybody may have written."""
    try:
        value = endpoint.capacity
    except ValueError:
        return 1.0
    return value if value is not None and 0.0 < value < math.inf else 1.0


def thousandths(parts: Sequence[float]) -> list[int]:
    """Weights in this relation, each 1 or more.

    >>> thousandths([3.0, 1.0]), thousandths([1e9, 1.0])
    ([750, 250], [1000, 1])
    """
    return [max(1, round(1000 * part / sum(parts))) for part in parts]
