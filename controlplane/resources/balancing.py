"""`BalancingPolicy`: how the traffic of Backends is balanced, and within which bounds."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from controlplane.model import GuardSettings
from controlplane.model.objective import Objective
from controlplane.resources.kinds import (
    Duration,
    Fields,
    Flag,
    Namespace,
    Number,
    WeirApiVersion,
)
from controlplane.resources.locality import Locality
from controlplane.resources.target import LeadsToBackends, Policy, PolicySpec, TargetRef

PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9_.]{0,62}[a-z0-9])?$")]

_DEFAULT = GuardSettings()

Ratio = Annotated[Number, Field(ge=0, le=1)]


class BalancingTargetRef(TargetRef):
    """What a policy is for."""

    kind: LeadsToBackends = Field(
        description="A route or a Gateway stands for every Backend under it; the nearest policy "
        "wins: that of a Backend or a Service before that of a route, of a Gateway."
    )
    namespace: Namespace | None = Field(
        default=None, description="Must be that of the policy, which is the default."
    )

    @property
    def other_namespace(self) -> str | None:
        """Where the target is said to be."""
        return self.namespace


class Rollout(Fields):
    """How much of a learned policy acts; an analytic policy always acts in full."""

    mode: Literal["shadow", "canary", "full"] = Field(
        default="full",
        description="`shadow` decides and changes nothing, `canary` acts for `percent` of the "
        "way from the analytic base to what was learned.",
    )
    percent: Annotated[Number, Field(ge=0, le=100)] = Field(
        default=100.0, description="Used with `canary`. In percent."
    )


class Guard(Fields):
    """Bounds that hold whatever decides."""

    frozen: Flag = Field(default=_DEFAULT.frozen, description="True: nothing moves.")
    min_ratio: Ratio = Field(
        default=_DEFAULT.min_ratio,
        description="An endpoint's share is at least this times its capacity share.",
    )
    max_ratio: Annotated[Number, Field(ge=1, le=1000)] = Field(
        default=_DEFAULT.max_ratio,
        description="An endpoint's share is at most this times its capacity share.",
    )
    max_share: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=_DEFAULT.max_share,
        description="An endpoint's share is at most the larger of this and its capacity share.",
    )
    max_share_of_two: Annotated[Number, Field(ge=0.5, le=1)] = Field(
        default=_DEFAULT.max_share_of_two, description="The same where there are two endpoints."
    )
    step_down: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=_DEFAULT.step_down, description="A share shrinks at most by this factor in a step."
    )
    step_up: Annotated[Number, Field(ge=1, le=1000)] = Field(
        default=_DEFAULT.step_up, description="A share grows at most by this factor in a step."
    )
    step_points: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=_DEFAULT.step_points, description="A share moves at most by this in a step."
    )
    step_down_sick: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=_DEFAULT.step_down_sick,
        description="Instead of `stepDown`, and without `stepPoints`, for a sick endpoint.",
    )
    hold_below: Ratio = Field(
        default=_DEFAULT.hold_below,
        description="A change of less than this part of the traffic is not pushed.",
    )
    requests_per_push: Annotated[Number, Field(ge=0, le=1_000_000)] = Field(
        default=_DEFAULT.requests_per_push,
        description="Requests for each endpoint in each proxy worker between two pushes of "
        "endpoint weights.",
    )
    fresh_intervals: Annotated[Number, Field(ge=1, le=1000)] = Field(
        default=_DEFAULT.fresh_intervals,
        description="Numbers up to this many intervals old are normal.",
    )
    freeze_after: Duration = Field(
        default=_DEFAULT.freeze_after_s,
        description="Numbers older than fresh and up to this age: nothing moves.",
    )
    decay_until: Duration = Field(
        default=_DEFAULT.decay_until_s,
        description="Up to this age: decay to the baseline. Beyond: the baseline.",
    )
    recover: Duration = Field(
        default=_DEFAULT.recover_s,
        description="Fresh numbers for this long end a freeze that came from their absence.",
    )
    suspect_ratio: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=_DEFAULT.suspect_ratio,
        description="More than this part of the endpoints bad at once: the numbers are suspect.",
    )
    coverage: Ratio = Field(
        default=_DEFAULT.coverage,
        description="Numbers that cover less than this part of endpoints or proxies do not act.",
    )
    warmup: Duration = Field(
        default=_DEFAULT.warmup_s, description="A new endpoint ramps up to its share for this long."
    )
    crowd: Annotated[Number, Field(ge=1, le=1000)] = Field(
        default=_DEFAULT.crowd,
        description="A sudden rise of the load by this factor must not flood some endpoints while "
        "others idle.",
    )
    crowd_slack: Annotated[Number, Field(ge=1, le=1000)] = Field(
        default=_DEFAULT.crowd_slack,
        description="However high the load: a share of up to this times the capacity share is let "
        "through.",
    )
    regroup: Duration = Field(
        default=_DEFAULT.regroup_s,
        description="Endpoints are put into other groups at most this often.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Guard:
        self.settings()  # refuses what does not fit together
        return self

    def settings(self) -> GuardSettings:
        """The same as the value that the guard takes."""
        names = [field.name for field in dataclasses.fields(GuardSettings)]
        return GuardSettings(**{name: getattr(self, name.removesuffix("_s")) for name in names})


_GOALS = Objective()
Weight = Annotated[Number, Field(ge=0, le=1000)]


class Slo(Fields):
    """What a request is promised."""

    weight: Weight = Field(
        default=1.0, description="Of the ratio of requests that succeed within `latency`."
    )
    latency: Annotated[Duration, Field(gt=0, le=3600)] = Field(
        default=_GOALS.slo_latency_s, description="By when."
    )


class Goals(Fields):
    """What balancing is for: weights of goals, each 0 or more; 0 leaves a goal out.

    Terms are logarithms or ratios, so that a weight says what a change by some percent is worth.
    """

    latency_mean: Weight = Field(
        default=_GOALS.latency_mean, description="Of minus the logarithm of the mean latency."
    )
    latency_p99: Weight = Field(
        default=_GOALS.latency_p99,
        alias="latencyP99",
        description="Of minus the logarithm of the 99th percentile.",
    )
    errors: Weight = Field(
        default=_GOALS.errors, description="Of minus the ratio of failed requests."
    )
    fairness: Weight = Field(
        default=_GOALS.fairness,
        description="Of the logarithm of Jain's index of the endpoints' utilisation.",
    )
    fairness_potential: Weight = Field(
        default=_GOALS.fairness_potential,
        description="Of the same as a potential: it guides learning and does not change what is "
        "best.",
    )
    cost: Weight = Field(
        default=_GOALS.cost, description="Of minus the logarithm of the cost of a request."
    )
    energy: Weight = Field(
        default=_GOALS.energy, description="Of minus the logarithm of the energy of a request."
    )
    slo: Slo | None = Field(default=None, description="Not given: nothing is promised.")
    value: Weight = Field(
        default=_GOALS.value,
        description="Of the part of the value of all requests that those within the SLO bring.",
    )
    class_values: Annotated[dict[PolicyName, Weight], Field(max_length=64)] = Field(
        default_factory=dict,
        description="What a request of a class is worth; 1 where nothing is said.",
    )

    @model_validator(mode="after")
    def _something_counts(self) -> Goals:
        self.objective()  # refuses what does not fit together
        return self

    def objective(self) -> Objective:
        """The same as the value that policies are trained for."""
        return Objective(
            latency_mean=self.latency_mean,
            latency_p99=self.latency_p99,
            errors=self.errors,
            fairness=self.fairness,
            fairness_potential=self.fairness_potential,
            cost=self.cost,
            energy=self.energy,
            slo=0.0 if self.slo is None else self.slo.weight,
            slo_latency_s=_GOALS.slo_latency_s if self.slo is None else self.slo.latency,
            value=self.value,
            class_values=dict(self.class_values),
        )


class Exploration(Fields):
    """Noise on what is decided, so that something can be learned from a log of decisions."""

    deviation: Annotated[Number, Field(ge=0, le=0.5)] = Field(
        default=0.0,
        description="Standard deviation of the logarithm of each group's share; 0.1 is about 10 %. "
        "0: none.",
    )


class BalancingPolicySpec(PolicySpec):
    """What is balanced, and how."""

    target_refs: tuple[BalancingTargetRef, ...] = Field(
        min_length=1, max_length=64, description="What the policy is for."
    )
    policy: PolicyName = Field(
        description="`equal`, `capacity`, `model`, `learned`, or one that you installed."
    )
    interval: Annotated[Duration, Field(ge=0.1, le=3600)] = Field(
        default=1.0, description="How often it decides."
    )
    actuation: Literal["auto", "groups", "endpoints"] = Field(
        default="auto",
        description="Weights of groups of endpoints, or of each endpoint. `auto` chooses by what "
        "is known; for an Envoy that keeps its own configuration it means endpoints.",
    )
    locality: Locality | None = Field(
        default=None,
        description="Not given: all endpoints of a Backend are balanced together, wherever they "
        "are. See [locality.md](../locality.md).",
    )
    objective: Goals | None = Field(
        default=None,
        description="What a learned policy is wanted for. Not given: what the one that acts was "
        "trained for. Where it was trained for something else, it acts and says so. See "
        "[objectives.md](../agents/objectives.md).",
    )
    exploration: Exploration = Field(
        default=Exploration(),
        description="Of `learned` and `model`, where groups of endpoints carry the weights; within "
        "the bound of the policy, and before the guard. Not in `shadow`. See "
        "[offline.md](../agents/offline.md).",
    )
    guard: Guard = Guard()
    rollout: Rollout = Rollout()
    fallback: PolicyName = Field(
        default="model", description="The policy that decides when `policy` cannot."
    )


class BalancingPolicy(Policy):
    """How traffic is balanced."""

    about: ClassVar[str] = (
        "A Backend without a policy gets equal weights. Of two policies for one target the "
        "older is in force, then the first by name; the other is reported."
    )
    api_version: WeirApiVersion
    kind: Literal["BalancingPolicy"]
    spec: BalancingPolicySpec
