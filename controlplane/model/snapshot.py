"""What a fleet should run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete, consistent set of Envoy resources for one fleet, already serialised."""

    fleet: str
    resources: Mapping[str, Mapping[str, bytes]]
    """type URL -> resource name -> serialised resource. An absent type is unknown to the fleet,
    an empty mapping is an empty set. Equal bytes objects mean unchanged content."""
