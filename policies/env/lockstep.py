"""Many control loops over many simulations, a tick of all of them at a time.

Each loop is what serving does: telemetry becomes an observation, `decide` folds it, groups the
endpoints and asks the service's policy, `guard` checks, and after a delay the shares are in force.
Side by side they share the cost of numpy's calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from controlplane.model import Actuation, Grouping, Proposal, Service, ServiceName
from controlplane.model.observation import Floats
from policies.env.goals import Felt
from policies.env.regional import Regional
from policies.env.stages import Stages
from policies.env.strategy import Strategy
from policies.simulator import Case, Outcome, Simulation, Telemetry, one_group

INTERVAL_S = 1.0


@dataclass(slots=True)
class _Loop:
    """One service under control. `policy` None: Envoy as it is, without us."""

    case: Case
    seed: int
    run: Simulation
    service: Service
    noise: np.random.Generator
    policy: str | None
    belief: Any = None
    memory: Any = None
    pending: tuple[Grouping, Floats] | None = field(default=None)
    bias: float | None = None
    """What the strategy in force wants; None: as the case has it."""
    regional: Regional | None = None
    """Splits for each region, once a strategy has asked for them; sees what this loop sees."""
    seen: Telemetry | None = None


class Lockstep:
    """The loops of several cases, each with its own seed and policy.

    `look` plays up to the next tick and returns what each loop would decide (`Decided` of the
    control plane's decide stage); `act` takes what is to be proposed instead. Loops without a
    policy have None there.
    """

    def __init__(
        self,
        stages: Stages,
        policies: Any,  # noqa: ANN401 - the decide stage's own registry, reached by entry point
        cases: Sequence[tuple[Case, int, str | None]],
        *,
        actuation: Actuation = Actuation.AUTO,
    ) -> None:
        """`actuation`: how weights act, unless a strategy says otherwise. `leastTime` of a strategy
        is over the installed policies."""
        self._stages, self._guard = stages, stages.guard
        self._asked = stages.decide.Asked
        self._decider = stages.decide.Decider(policies)
        self._loops = [
            _Loop(
                case,
                seed,
                Simulation(case, seed),
                _declared(case, i, 0.0, policy, actuation),
                np.random.Generator(np.random.PCG64([seed, 77])),
                policy,
            )
            for i, (case, seed, policy) in enumerate(cases)
        ]
        self._by_name = {loop.service.name: loop for loop in self._loops}
        self.now_s = 0.0
        self._declare()

    def look(self) -> list[Any]:
        """Play to the next tick; what each loop sees and its policy wants."""
        self.now_s += INTERVAL_S
        asked, owners = [], []
        for i, loop in enumerate(self._loops):
            self._play_to_tick(loop)
            if len(loop.case.present(self.now_s)) != len(loop.service.endpoints):
                loop.service = _declared(
                    loop.case, i, self.now_s, loop.policy, loop.service.actuation
                )
                if loop.policy is None:
                    loop.run.split(one_group(loop.case, self.now_s), np.ones(1))
            seen = loop.seen = _looked(loop)
            if loop.policy is None:
                continue
            noise = None
            if loop.case.orca:
                spread = loop.case.telemetry_noise
                noise = 1.0 + spread * loop.noise.standard_normal(len(seen.endpoints))
            look = seen.observation(loop.service.name, utilisation_noise=noise)
            asked.append(self._asked(loop.service, look, loop.belief))
            owners.append(i)
        decided: list[Any] = [None] * len(self._loops)
        for i, decision in zip(
            owners, self._decider.decide(asked, self.now_s, self._in_force), strict=True
        ):
            self._loops[i].belief = decision.memory
            decided[i] = decision
        return decided

    def act(
        self,
        decided: Sequence[Any],
        proposals: Sequence[Proposal | None],
        strategies: Sequence[Strategy | None] | None = None,
    ) -> None:
        """Let the guard check what is proposed; it is in force after each case's delay.

        `strategies`: of the first loops, where other than to change the weights of classes every
        second. What is proposed moves nothing where the strategy is one group, or between regions.
        """
        chosen = [*(strategies or ())]
        chosen += [None] * (len(self._loops) - len(chosen))
        for loop, decision, proposal, strategy in zip(
            self._loops, decided, proposals, chosen, strict=True
        ):
            if decision is None or proposal is None:
                continue
            if strategy is not None:
                loop.service = replace(loop.service, actuation=strategy.actuation)
                loop.bias = strategy.bias
                if strategy.between_regions and len(loop.case.regions) > 1:
                    loop.pending = self._regional(loop).split()
                    continue
                if strategy.one_group:
                    loop.pending = (one_group(loop.case, self.now_s), np.ones(1))
                    continue
                if self.now_s % strategy.every_s > 1e-9:
                    continue
            verdict, loop.memory = self._guard.check(
                decision.situation, proposal, loop.memory, self.now_s
            )
            weights = np.array(verdict.weights.by_group, np.float64)
            loop.pending = (verdict.grouping, weights / weights.sum())

    def outcomes(self) -> list[Outcome]:
        """What the requests that arrived since the last call get."""
        return [loop.run.outcome() for loop in self._loops]

    def felt(self) -> list[Felt]:
        """The same, beside what the endpoints did since the last tick."""
        return [Felt.of(loop.case, loop.run.outcome_by_class(), loop.seen) for loop in self._loops]

    def drain(self) -> None:
        """Let every request end."""
        for loop in self._loops:
            loop.run.drain()

    def _declare(self) -> None:
        """As serving does when services come: a verdict at once, before anything was seen."""
        loops = [loop for loop in self._loops if loop.policy is not None]
        asked = [self._asked(loop.service, None) for loop in loops]
        for loop, decision in zip(
            loops, self._decider.decide(asked, self.now_s, self._in_force), strict=True
        ):
            loop.belief = decision.memory
            verdict, loop.memory = self._guard.check(
                decision.situation, decision.proposal, None, self.now_s
            )
            loop.run.split(verdict.grouping, verdict.shares)

    def _play_to_tick(self, loop: _Loop) -> None:
        if loop.pending is not None:
            loop.run.advance(self.now_s - INTERVAL_S + loop.case.delay_s)
            if loop.bias is not None:
                loop.run.bias(loop.bias)
            loop.run.split(*loop.pending)
            loop.pending = None
        loop.run.advance(self.now_s)

    def _regional(self, loop: _Loop) -> Regional:
        """What splits by region, which begins to learn when it is first asked for.

        It goes on as if it were in force while it is not, as this loop's own split does.
        """
        if loop.regional is None:
            assert loop.policy is not None
            loop.regional = Regional(self._stages, loop.case, loop.seed, loop.policy, run=loop.run)
        return loop.regional

    def _in_force(self, service: Service, grouping: Grouping) -> Floats:
        memory = self._by_name[service.name].memory
        shares: Floats = self._guard.shares_in_force(service, memory, grouping, self.now_s)
        return shares


def _looked(loop: _Loop) -> Telemetry:
    """What was seen since the last tick."""
    if loop.regional is None:
        return loop.run.telemetry()
    whole, apart = loop.run.telemetry_both()
    loop.regional.see(apart)
    return whole


def _declared(
    case: Case, number: int, at_s: float, policy: str | None, actuation: Actuation
) -> Service:
    service = case.service(at_s, policy=policy or "equal")
    name = ServiceName(f"simulated/{case.name}-{number}")
    return replace(service, name=name, actuation=actuation)
