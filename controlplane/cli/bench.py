"""`weir bench`, from the arena."""

from __future__ import annotations

from controlplane.lab.arena.bench import bench

__all__ = ["bench"]
