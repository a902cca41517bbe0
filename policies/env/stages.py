"""The stages of serving, found by entry point: what is trained on is what is served."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from controlplane.errors import PolicyLoadError


@dataclass(frozen=True, slots=True)
class Stages:
    """The packages `decide` and `guard` of the control plane, which policies may not import."""

    decide: Any
    guard: Any

    @classmethod
    def installed(cls) -> Stages:
        """Those of the installed distribution."""
        found = {point.name: point for point in entry_points(group="controlplane.stages")}
        missing = {"decide", "guard"} - found.keys()
        if missing:
            raise PolicyLoadError(
                f"no stage {', '.join(sorted(missing))} is installed: install weir anew"
            )
        return cls(found["decide"].load(), found["guard"].load())
