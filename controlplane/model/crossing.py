"""What is decided between the zones of a service, on its way through the guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from controlplane.model.observation import Floats
from controlplane.model.service import Endpoint, Zone
from controlplane.model.weights import Reason, Situation


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """Which part of the requests of each place of Envoys is wanted to go to which zone."""

    places: tuple[Zone, ...]
    whole: Situation
    """All zones as one service; its groups are the zones."""
    declared: tuple[Endpoint, ...]
    """All endpoints, as declared."""
    traffic: Floats
    """(places,) requests, in any unit."""
    wanted: Floats
    """(places, zones) not checked: the guard does that."""
    before: Floats
    """(places, zones) as it was let through last; rows sum to 1."""
    baseline: Floats
    """(places, zones) what needs no number that was measured; rows sum to 1."""

    def loads(self, shares: Floats) -> Floats:
        """(zones,) parts of all requests that each zone serves by these shares."""
        return np.asarray(self.weights @ shares, np.float64)

    @property
    def weights(self) -> Floats:
        """(places,) parts of all requests; equal ones where nobody asks."""
        asked = np.nan_to_num(np.maximum(self.traffic, 0.0), posinf=0.0)
        total = float(asked.sum())
        n = len(asked)
        return np.asarray(asked / total if total > 0.0 else np.full(n, 1.0 / n), np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Allowed:
    """What the guard lets through of it."""

    shares: Floats
    """(places, zones); rows sum to 1."""
    reasons: tuple[Reason, ...] = ()


ChecksZones = Callable[[Crossing, float], Allowed]
"""The guard between zones, told the time on the loop's clock."""


@dataclass(frozen=True, slots=True)
class Served:
    """How the Envoys of a place are served by a zone, as it is kept over a restart."""

    priority: int
    weight: int | None
    together: bool = False
    requests: float = 0.0
    """Of the place, counted over the last half minute or so."""
    way_s: float = 0.0
    """There and back."""
    measured: float = 0.0
    """How sure the way is: 0 where it was never measured."""


@dataclass(frozen=True, slots=True, eq=False)
class Between:
    """Why the zones of a Backend are in the order that they are in, for whoever asks."""

    mode: str
    """`room` (capacities are not known: as near as there is room), `least-time`, or `together` (all
    zones are one to Envoy)."""
    ways: Mapping[tuple[Zone, Zone], float]
    """Seconds from the Envoys of a place to a zone, there and back, where they were measured."""
    reasons: tuple[Reason, ...] = ()
