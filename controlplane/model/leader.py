"""Who decides, of several replicas."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leader:
    """The replica that does."""

    identity: str
    """Tells one process from all others, also from an earlier one of the same host."""
    epoch: int
    """Greater for every later one."""
    address: str = ""
    """HOST:PORT at which other replicas reach it; empty: nowhere."""
