"""`weir demo`, from the lab."""

from __future__ import annotations

from controlplane.lab.demo import demo

__all__ = ["demo"]
