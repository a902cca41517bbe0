"""Which Envoys of a group are shown something else first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from controlplane.model import Zone, nearest
from controlplane.xds.stream import View


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """What the nodes of a group are shown, by where they are."""

    common: View
    by_place: Mapping[Zone, View]
    """What differs from `common` is what the nodes of that place are told otherwise."""

    def at(self, where: Zone) -> View:
        """What a node that is there is shown."""
        if not self.by_place:
            return self.common
        place = nearest(where, self.by_place)
        return self.by_place[place] if place is not None else self.common

    def __iter__(self) -> Iterator[View]:
        yield self.common
        yield from self.by_place.values()


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Another snapshot for a share of a group's nodes."""

    share: float
    """0: no node, 1: all."""
    views: Views

    @property
    def view(self) -> View:
        """What nodes of no place are shown."""
        return self.views.common

    def covers(self, node_id: str) -> bool:
        """Whether this node is among them."""
        return place(node_id) < self.share


@lru_cache(16384)
def place(node_id: str) -> float:
    """Where a node stands in the order in which nodes are taken: from 0, below 1.

    A hash of its id, so every replica takes the same nodes, and a larger share takes more of them
    and lets none go.

    >>> round(place("envoy-1"), 3)
    0.509
    """
    return int.from_bytes(blake2b(node_id.encode(), digest_size=6).digest()) / 2**48
