"""What was in force for a service, as it is kept over a restart."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.model.observation import Floats
from controlplane.model.service import ServiceName
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

    def __post_init__(self) -> None:
        groups = len(self.grouping.names)
        if self.shares.shape != (groups,) or len(self.weights.by_group) != groups:
            raise ValueError(f"{self.service}: {groups} groups, but not as many shares and weights")

    @classmethod
    def of(cls, verdict: Verdict, policy: str, saved_at: float) -> LastGood:
        """What to keep of a verdict."""
        return cls(
            verdict.service.name,
            verdict.grouping,
            verdict.shares,
            verdict.weights,
            policy,
            saved_at,
        )
