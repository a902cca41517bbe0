"""From what a policy wants to what is sent: groups, situations, proposals, verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.model.estimate import Estimate
from controlplane.model.observation import Floats, Observation
from controlplane.model.residual import BOUND
from controlplane.model.service import EndpointId, Service

MAX_TOTAL = 2**32 - 1
"""Envoy ACKs larger sums and gRPC clients refuse them."""


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Which endpoints share a weight.

    With actuation `groups` a group is a synthetic locality that carries the weight; with
    `endpoints` each endpoint is a group of its own.
    """

    endpoints: tuple[EndpointId, ...]
    names: tuple[str, ...]
    """(g,) names of the groups: stable, short, unique; they become the localities' sub-zones."""
    index: NDArray[np.intp]
    """(n,) the group of each endpoint."""
    by_locality: bool = True
    """True: group weights (localities). False: endpoint weights."""

    def __post_init__(self) -> None:
        if self.index.shape != (len(self.endpoints),):
            raise ValueError("a grouping names one group for each endpoint")
        if self.endpoints and set(self.index.tolist()) != set(range(len(self.names))):
            raise ValueError("every group of a grouping has an endpoint")

    @property
    def sizes(self) -> NDArray[np.intp]:
        """(g,) endpoints in each group."""
        return np.bincount(self.index, minlength=len(self.names))

    def total(self, per_endpoint: Floats) -> Floats:
        """(n,) summed into (g,)."""
        sums = np.bincount(self.index, weights=per_endpoint, minlength=len(self.names))
        return sums.astype(np.float64, copy=False)

    def same_as(self, other: Grouping) -> bool:
        """Whether both put the same endpoints into the same groups."""
        return (
            self.endpoints == other.endpoints
            and self.names == other.names
            and self.by_locality == other.by_locality
            and np.array_equal(self.index, other.index)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """All that a policy may know when it decides about one service."""

    service: Service
    observation: Observation
    estimate: Estimate
    grouping: Grouping
    shares: Floats
    """(g,) the shares in force, summing to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """What a policy would like. Not checked: the guard does that."""

    shares: Floats
    """(g,) wanted shares of the groups."""
    policy: str
    digest: str = ""
    """Content digest of the model that proposed, where there is one."""
    base: Floats | None = None
    """(g,) what the analytic base proposed, where the policy is a residual on one."""
    bound: float = BOUND
    """No residual on the base is larger."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """A residual that was drawn around what a policy wanted: normal, each group by itself."""

    base: Floats
    """(g,) the shares that the residual is on."""
    mean: Floats
    """(g,) the residual of the policy itself."""
    drawn: Floats
    """(g,) the one that was drawn. Beyond the bound of the policy it acts as the bound."""
    deviation: float
    """Above 0."""

    @property
    def log_density(self) -> float:
        """The logarithm of how likely what was drawn was: its propensity."""
        off = (self.drawn - self.mean) / self.deviation
        each = math.log(self.deviation) + 0.5 * math.log(2.0 * math.pi)
        return -0.5 * float(off @ off) - len(off) * each


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the guard or a policy did what it did; read by people and by alerts."""

    code: str
    """A short stable word, such as `bounded`, `stepped`, `held`, `stale`, `suspect`, `frozen`."""
    text: str


@dataclass(frozen=True, slots=True)
class Weights:
    """Integers as Envoy takes them: 1 or more, the sum within 32 bits.

    >>> Weights((3, 0))
    Traceback (most recent call last):
    ValueError: weight 0 is below 1
    """

    by_group: tuple[int, ...]

    def __post_init__(self) -> None:
        for weight in self.by_group:
            if weight < 1:
                raise ValueError(f"weight {weight} is below 1")
        if sum(self.by_group) > MAX_TOTAL:
            raise ValueError(f"the weights sum to {sum(self.by_group)}, above {MAX_TOTAL}")


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the guard lets through."""

    service: Service
    grouping: Grouping
    shares: Floats
    """(g,) the shares that `weights` encode, before rounding."""
    weights: Weights
    changed: bool
    """Whether it differs from what is in force, and so is to be pushed."""
    reasons: tuple[Reason, ...] = ()

    def by_endpoint(self) -> Mapping[EndpointId, float]:
        """The share of the traffic that each endpoint gets."""
        per_endpoint = self.shares[self.grouping.index] / self.grouping.sizes[self.grouping.index]
        return dict(zip(self.grouping.endpoints, per_endpoint.tolist(), strict=True))
