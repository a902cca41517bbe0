"""An Envoy that sends us numbers, as it names itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from controlplane.model.service import NOWHERE, Zone

ProxyId = NewType("ProxyId", str)
"""Envoy's node.id."""

ProxyKey = tuple[str, ProxyId]
"""Its node.cluster and its node.id: an id is unique in its cluster alone."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One Envoy process."""

    id: ProxyId
    fleet: str = ""
    """Its node.cluster."""
    workers: int = 1
    """Worker threads, as far as its node metadata says (`weir.dev/workers`)."""
    where: Zone = NOWHERE
    """Its node.locality."""

    @property
    def key(self) -> ProxyKey:
        """What tells it from all others."""
        return self.fleet, self.id
