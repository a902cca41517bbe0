"""An Envoy that sends us numbers, as it names itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

ProxyId = NewType("ProxyId", str)
"""Envoy's node.id."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One Envoy process."""

    id: ProxyId
    fleet: str = ""
    """Its node.cluster."""
    workers: int = 1
    """Worker threads, as far as its node metadata says (`weir.dev/workers`)."""
