"""What was in force for a service, as it is kept over a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.model.crossing import Served
from controlplane.model.observation import Floats
from controlplane.model.service import ServiceName, Zone
from controlplane.model.weights import Grouping, Verdict, Weights


@dataclass(frozen=True, slots=True, eq=False)
class LastGood:
    """The last state of a service that the guard let through."""

    service: ServiceName
    grouping: Grouping
    shares: Floats
    """(g,) before rounding."""
    weights: Weights
    policy: str
    saved_at: float
    """Seconds since 1970: another process reads it, so it is not on a monotonic clock."""
    places: Mapping[Zone, Served] = field(default_factory=dict)
    """Of a part of a service that tells places apart: how the Envoys of each are served by it."""

    def __post_init__(self) -> None:
        groups = len(self.grouping.names)
        if self.shares.shape != (groups,) or len(self.weights.by_group) != groups:
            raise ValueError(f"{self.service}: {groups} groups, but not as many shares and weights")

    @classmethod
    def of(
        cls,
        verdict: Verdict,
        policy: str,
        saved_at: float,
        places: Mapping[Zone, Served] | None = None,
    ) -> LastGood:
        """What to keep of a verdict."""
        return cls(
            verdict.service.name,
            verdict.grouping,
            verdict.shares,
            verdict.weights,
            policy,
            saved_at,
            places or {},
        )
