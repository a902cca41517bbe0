"""The stage that the loop calls: looks in, proposals out, one call per policy.

A policy that fails is caught here and nowhere else; its services go on with their fallback, and
with equal shares when that fails too, and say why. What has to be remembered of a service is a
frozen value that the caller keeps and passes in again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from controlplane.decide.declared import declared_capacities
from controlplane.decide.equal import Equal
from controlplane.decide.explore import explore
from controlplane.decide.grouping import Grouped, regroup
from controlplane.decide.registry import Policies
from controlplane.decide.rollout import acting
from controlplane.decide.snap import snap
from controlplane.errors import NotExplainableError, PolicyError, UnknownPolicyError
from controlplane.model import (
    Endpoint,
    EndpointId,
    Estimate,
    Explored,
    Grouping,
    Observation,
    Proposal,
    Reason,
    Service,
    Situation,
)
from controlplane.model.attribution import Attribution
from controlplane.model.estimate import fold_all
from controlplane.model.observation import Floats
from controlplane.ports import Explains, WeightPolicy

ALONE_BEFORE_GIVING_UP = 3
"""When a batch failed, services are tried one by one; so many failures in a row and it is the
policy that is broken, not a situation."""

InForce = Callable[[Service, Grouping], Floats]
"""(g,) the shares that a service has in force, seen on these groups."""


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is remembered of a service from one decision to the next."""

    declared: tuple[Endpoint, ...]
    endpoints: tuple[EndpointId, ...]
    capacities: Floats | None
    estimate: Estimate
    grouped: Grouped | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A service that is due. `observation` is None where the source knows nothing of it."""

    service: Service
    observation: Observation | None
    memory: Memory | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What came of it."""

    situation: Situation
    proposal: Proposal
    """What is to act; the guard has not seen it yet."""
    wanted: Proposal
    """What the policy proposed, before rollout, noise and snap: in shadow all that is seen."""
    memory: Memory
    reasons: tuple[Reason, ...] = ()
    explored: Explored | None = None
    """The noise in `proposal`, where the service explores."""


class Decider:
    """Holds policies and nothing of any service."""

    def __init__(self, policies: Policies, seed: int = 0) -> None:
        """`seed`: of the noise of services that explore; together with their names and the time."""
        self._policies = policies
        self._seed = seed

    def decide(self, asked: Sequence[Asked], now_s: float, in_force: InForce) -> Sequence[Decided]:
        """One decision for each service, in order."""
        memories, looks = _looked(asked)
        situations = [
            _situation(one.service, memory, look, now_s, in_force)
            for one, memory, look in zip(asked, memories, looks, strict=True)
        ]
        proposals = self._propose([situation for situation, _ in situations])
        return [
            _decided(situation, memory, proposal, reasons, (self._seed, now_s))
            for (situation, memory), (proposal, reasons) in zip(situations, proposals, strict=True)
        ]

    def attribute(self, decided: Decided) -> Attribution:
        """Why the policy wanted what it wanted, feature by feature. Takes up to about a tenth of a
        second, and may be asked in a thread: it changes nothing.

        Raises `NotExplainableError` where it is a formula.
        """
        wanted = decided.wanted
        try:
            policy = self._policies.get(wanted.policy)
        except PolicyError as error:
            raise NotExplainableError(str(error)) from error
        if wanted.base is None or not isinstance(policy, Explains):
            raise NotExplainableError(
                f"policy {wanted.policy!r} is a formula: there is nothing to share out among "
                "features; docs/decide.md has its equations"
            )
        return policy.attribute(decided.situation, wanted.base)

    def _propose(self, situations: Sequence[Situation]) -> list[tuple[Proposal, list[Reason]]]:
        """Ask the policy of each service; then the fallback of those that got nothing; then equal.

        Two rounds at most, and `Equal` cannot fail.
        """
        done: dict[int, Proposal] = {}
        reasons: list[list[Reason]] = [[] for _ in situations]
        for ask in (_policy_of, _fallback_of):
            by_policy: dict[str, list[int]] = {}
            for i, situation in enumerate(situations):
                if i not in done and situation.grouping.names:
                    by_policy.setdefault(ask(situation), []).append(i)
            for name, members in by_policy.items():
                answers = self._ask(name, [situations[i] for i in members])
                for i, answer in zip(members, answers, strict=True):
                    if isinstance(answer, Reason):
                        reasons[i].append(answer)
                    else:
                        done[i] = answer
        equal = Equal()
        for i, situation in enumerate(situations):
            if i not in done:
                done[i] = equal.propose([situation])[0]
        return [(done[i], reasons[i]) for i in range(len(situations))]

    def _ask(self, name: str, situations: Sequence[Situation]) -> Sequence[Proposal | Reason]:
        """One call for all; one call each where that failed."""
        try:
            policy = self._policies.get(name)
        except PolicyError as error:
            code = "policy_unknown" if isinstance(error, UnknownPolicyError) else "policy_refused"
            return [Reason(code, str(error))] * len(situations)
        together = _call(name, policy, situations)
        if not isinstance(together, Reason):
            return together
        if len(situations) == 1:
            return [together]
        answers: list[Proposal | Reason] = []
        in_a_row = 0
        for situation in situations:
            if in_a_row >= ALONE_BEFORE_GIVING_UP:
                answers.append(together)
                continue
            alone = _call(name, policy, [situation])
            in_a_row = in_a_row + 1 if isinstance(alone, Reason) else 0
            answers.append(alone if isinstance(alone, Reason) else alone[0])
        return answers


def _policy_of(situation: Situation) -> str:
    return situation.service.policy


def _fallback_of(situation: Situation) -> str:
    return situation.service.fallback


def _call(
    name: str, policy: WeightPolicy, situations: Sequence[Situation]
) -> Sequence[Proposal] | Reason:
    try:
        proposals = list(policy.propose(situations))
    except Exception as error:  # noqa: BLE001 - the edge to policies, which may be anybody's
        return Reason("policy_failed", f"policy {name!r} raised {error!r}"[:300])
    if len(proposals) != len(situations):
        return Reason(
            "policy_failed",
            f"policy {name!r} gave {len(proposals)} proposals for {len(situations)} situations",
        )
    for proposal, situation in zip(proposals, situations, strict=True):
        wrong = _misshapen(proposal, len(situation.grouping.names))
        if wrong:
            return Reason("policy_failed", f"policy {name!r} gave {wrong}")
    return proposals


def _misshapen(proposal: object, groups: int) -> str:
    if not isinstance(proposal, Proposal):
        return f"a {type(proposal).__name__} instead of a Proposal"
    for values in (proposal.shares, proposal.base):
        if values is not None and np.shape(values) != (groups,):
            return f"shares of shape {np.shape(values)} for {groups} groups"
    return ""


def _looked(asked: Sequence[Asked]) -> tuple[list[Memory], list[Observation]]:
    """Fold what was seen into what is believed."""
    memories = [_remembered(one.service, one.memory) for one in asked]
    looks = [
        _aligned(one.service, one.observation, memory)
        for one, memory in zip(asked, memories, strict=True)
    ]
    estimates = fold_all([m.estimate for m in memories], looks, [m.capacities for m in memories])
    return [replace(m, estimate=e) for m, e in zip(memories, estimates, strict=True)], looks


def _remembered(service: Service, memory: Memory | None) -> Memory:
    """The memory of a service, of the endpoints that are declared now."""
    if memory is not None and memory.declared is service.endpoints:
        return memory
    endpoints = tuple(endpoint.id for endpoint in service.endpoints)
    capacities = declared_capacities(service.endpoints)
    if memory is None:
        estimate = Estimate.unknown(endpoints, capacities)
        return Memory(service.endpoints, endpoints, capacities, estimate)
    if endpoints == memory.endpoints:
        endpoints = memory.endpoints
    estimate = memory.estimate.align(endpoints, capacities)
    return Memory(service.endpoints, endpoints, capacities, estimate, memory.grouped)


def _aligned(service: Service, look: Observation | None, memory: Memory) -> Observation:
    """The look in the order of the declared endpoints; NaN for those it says nothing about."""
    endpoints = memory.endpoints
    if look is None:
        return Observation.unknown(service.name, endpoints, memory.estimate.at_s)
    if look.endpoints is endpoints or look.endpoints == endpoints:
        return look
    return look.for_endpoints(endpoints)


def _situation(
    service: Service, memory: Memory, look: Observation, now_s: float, in_force: InForce
) -> tuple[Situation, Memory]:
    grouped = regroup(memory.grouped, service, memory.endpoints, memory.estimate, look, now_s)
    memory = replace(memory, grouped=grouped)
    shares = in_force(service, grouped.grouping)
    return Situation(service, look, memory.estimate, grouped.grouping, shares), memory


def _decided(
    situation: Situation,
    memory: Memory,
    wanted: Proposal,
    reasons: list[Reason],
    chance: tuple[int, float],
) -> Decided:
    if reasons:
        text = f"decided by {wanted.policy!r} instead of {situation.service.policy!r}"
        reasons = [*reasons, Reason("fallback", text)]
    acts, explored = explore(acting(wanted, situation.service.rollout), situation, *chance)
    if not situation.grouping.by_locality:
        acts = replace(acts, shares=snap(acts.shares, situation.shares))
    return Decided(situation, acts, wanted, memory, tuple(reasons), explored)
