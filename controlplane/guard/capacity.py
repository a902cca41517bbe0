"""What share of the traffic an endpoint could be expected to carry: what bounds are relative to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from controlplane.model import Endpoint, EndpointId, Estimate, Grouping
from controlplane.model.observation import Floats

ABSURD = 1e12
"""No service has this many requests in a window, or as many a second, or seconds of latency."""
NO_RPS = 1e-6
"""A capacity below this, a request in eleven days, is not one."""
BELIEVED_RATIO = 10.0
"""An estimate further than this factor from its peers' mean is cut to it: bounds that follow a
number without limit are none."""


@dataclass(frozen=True, eq=False)
class Able:
    """What a service is taken to be able to do, beside what is asked of it."""

    each: Floats
    """(n,) the shares that bounds are relative to: as declared, or else as estimated, or equal."""
    rps: Floats | None
    """(g,) requests/s as estimated; None where that is not known, or not to be acted on."""
    load_rps: float
    """Requests/s to expect; 0 where nothing is known."""
    estimate: Estimate

    @cached_property
    def busier(self) -> float:
        """Of the estimate: worked out once a check, and only where somebody asks."""
        return self.estimate.busier


def aligned(values: Floats, have: tuple[EndpointId, ...], wanted: tuple[EndpointId, ...]) -> Floats:
    """`values` in the order of `wanted`; NaN for endpoints that it says nothing about."""
    if have is wanted or have == wanted:
        return values
    at = dict(zip(have, values.tolist(), strict=True))
    return np.array([at.get(endpoint, math.nan) for endpoint in wanted], dtype=np.float64)


def baseline(
    declared: tuple[Endpoint, ...], endpoints: tuple[EndpointId, ...]
) -> tuple[Floats, bool]:
    """(n,) shares by declared capacity and True; or equal ones and False where none is declared.

    An endpoint that declares none among others that do counts as their mean.
    """
    at = {endpoint.id: _capacity(endpoint) for endpoint in declared}
    capacity = np.array([at.get(endpoint, math.nan) for endpoint in endpoints], dtype=np.float64)
    return _normal(capacity), bool(np.isfinite(capacity).any())


def believed(grouping: Grouping, estimate: Estimate) -> Floats | None:
    """(n,) estimated capacities in requests/s, none absurd; None where nothing was estimated.

    What is not known of one is taken to be the mean of the others.
    """
    capacity = aligned(estimate.capacity_rps, estimate.endpoints, grouping.endpoints)
    usable = (capacity > NO_RPS) & (capacity < ABSURD)
    if not usable.all():
        if not usable.any():
            return None
        capacity = np.where(usable, capacity, capacity[usable].mean())
    mean = float(capacity.sum()) / len(capacity)
    return np.minimum(np.maximum(capacity, mean / BELIEVED_RATIO), mean * BELIEVED_RATIO)


def _normal(capacity: Floats) -> Floats:
    known = capacity[np.isfinite(capacity)]
    filled = np.where(np.isfinite(capacity), capacity, known.mean() if len(known) else 1.0)
    shares: Floats = filled / filled.sum()
    return shares


def _capacity(endpoint: Endpoint) -> float:
    try:
        capacity = endpoint.capacity
    except ValueError:  # a label is a person's text
        return math.nan
    return capacity if capacity is not None and 0 < capacity < math.inf else math.nan
