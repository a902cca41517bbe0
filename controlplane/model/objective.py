"""What balancing is for: how much each of several goals counts.

Pure, the same where a policy is declared, trained and measured. The terms themselves are worked out
where something is played (`policies.env.goals`); here is what a user can ask for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields


@dataclass(frozen=True, slots=True)
class Objective:
    """Weights of goals; 0 leaves a goal out. All terms are logarithms or ratios, so that a weight
    says what a change by some percent is worth."""

    latency_mean: float = 1.0
    """Of -log of the mean latency."""
    latency_p99: float = 0.0
    """Of -log of the 99th percentile."""
    errors: float = 5.0
    """Of minus the ratio of failed requests."""
    fairness: float = 0.0
    """Of the logarithm of Jain's index of the endpoints' utilisation."""
    fairness_potential: float = 0.0
    """Of the same, as a potential: it guides learning and does not change what is best."""
    cost: float = 0.0
    """Of -log of the cost per request: the capacity that is busy with it, in seconds."""
    energy: float = 0.0
    """Of -log of the energy per request."""
    slo: float = 0.0
    """Of the ratio of requests that succeed within `slo_latency_s`."""
    slo_latency_s: float = 0.25
    value: float = 0.0
    """Of the part of the value of all requests that those within the SLO bring."""
    class_values: Mapping[str, float] = field(default_factory=dict, hash=False)
    """What a request of a class is worth; 1 where nothing is said."""

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self) if one.name != "class_values"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0.0):
                raise ValueError(f"objective: {name} is not a number of 0 or more")
        if not self.slo_latency_s > 0.0:
            raise ValueError("objective: the latency of the SLO is not above 0")
        if any(not (math.isfinite(v) and v >= 0.0) for v in self.class_values.values()):
            raise ValueError("objective: a class has a value that is not a number of 0 or more")
        if not any((self.latency_mean, self.latency_p99, self.errors, self.fairness, self.cost,
                    self.energy, self.slo, self.value)):  # fmt: skip
            raise ValueError("objective: no goal counts")
