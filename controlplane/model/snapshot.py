"""What a fleet should run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.model.service import Zone


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete, consistent set of Envoy resources for one fleet, already serialised."""

    fleet: str
    resources: Mapping[str, Mapping[str, bytes]]
    """type URL -> resource name -> serialised resource. An absent type is unknown to the fleet,
    an empty mapping is an empty set. Equal bytes objects mean unchanged content."""
    by_place: Mapping[Zone, Mapping[str, bytes]] = field(default_factory=dict)
    """The endpoint assignments, by name, that are others for the Envoys of a place: see
    `places.nearest`."""
