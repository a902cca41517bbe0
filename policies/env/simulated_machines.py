"""Services that share machines, or the Envoys of one service, as agents on the simulator.

`policies.env.machines` is the same game in queueing theory, where its equilibrium is known. Here a
request of one waits behind those of the others in a real queue, no agent sees what the others send,
and beside each team plays one in which `model` acts for all, on the same requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.model.features import FEATURES, features_of
from controlplane.model.objective import Objective
from controlplane.model.observation import Floats
from policies.env.draw import Draw
from policies.env.episodes import GROUPS, Episodes, Seeded, Table
from policies.env.goals import Felt, Promised
from policies.env.paired import advantage, moved
from policies.env.stages import Stages
from policies.env.tenancy import Tenancy
from policies.simulator import Case, Outcome, tenants

_WHOSE = "whose requests keep a machine busy is not told apart; leave it out, or train on `own`"
UNTOLD: Mapping[str, str] = {
    "cost": _WHOSE,
    "energy": _WHOSE,
    "value": "all requests of an agent are of one class; ask for `slo` instead",
}
"""Terms of an objective that cannot be felt here, and why. Fairness can: how evenly busy the
machines are is the same for all whose endpoints they are."""


def machines_draw() -> Draw:
    """Machines of two kinds or more, all there from the start."""
    return Draw(
        families={"hardware_2x": 1.0, "hardware_4x": 1.0, "all_different": 1.0},
        proxies=(12, 24, 48),
        load=(0.5, 0.85),
    )


@dataclass(frozen=True, slots=True)
class SimulatedMachines:
    """A world of teams of `agents` each. Slots are the agents of the first team, then the next."""

    draw: Draw = field(default_factory=machines_draw)
    agents: int = 3
    alike: bool = False
    """Whether all agents of a team send as much, as the Envoys of one service do."""
    objective: Objective = field(default_factory=Objective)
    discount: float = 1.0
    """The learner's, which a potential of the objective has to know."""

    def __post_init__(self) -> None:
        for term, why in UNTOLD.items():
            if getattr(self.objective, term):
                raise ValueError(
                    f"objective: {term} cannot be felt with machines `shared` or `envoys`: {why}"
                )

    @classmethod
    def per_service(cls, draw: Draw | None = None, agents: int = 3) -> SimulatedMachines:
        """Services on the same machines, of which some send more than others."""
        return cls(draw or machines_draw(), agents)

    @classmethod
    def per_envoy(cls, draw: Draw | None = None, agents: int = 8) -> SimulatedMachines:
        """The Envoys of one service, each with a split of its own, by what it sees alone."""
        draw = draw or machines_draw()
        return cls(replace(draw, proxies=(agents,)), agents, alike=True)

    @property
    def steps(self) -> int:
        """Of an episode."""
        return self.draw.steps

    def episodes(self, slots: int, seed: int, copies: int = 1) -> Episodes:
        """New ones; `slots` is a multiple of the agents."""
        return MachineEpisodes(self, slots, seed, copies)

    def tasks(self) -> Sequence[SimulatedMachines]:
        """A family each."""
        return [replace(self, draw=draw) for draw in self.draw.by_family()]

    def case(self, random: np.random.Generator) -> tuple[Case, int]:
        """Machines, those who share them, and the seed of their requests."""
        case, seed = self.draw.case(random)
        part = np.ones(self.agents) if self.alike else random.uniform(0.5, 1.5, self.agents)
        kind = "envoy" if self.alike else "service"
        names = tuple(f"{kind}-{i}" for i in range(self.agents))
        return tenants(case, names, tuple((part / part.sum()).tolist())), seed


class MachineEpisodes(Seeded):
    """`Episodes` of teams on machines that they share. Each is rewarded for its own requests."""

    def __init__(self, world: SimulatedMachines, slots: int, seed: int, copies: int = 1) -> None:
        if slots % (world.agents * copies):
            raise ValueError(f"{slots} slots are not {copies} copies of teams of {world.agents}")
        self.slots, self.teams = slots, slots // world.agents
        self._world, self._copies = world, copies
        self._stages = Stages.installed()
        self._policies = self._stages.decide.Policies.installed()
        super().__init__(seed)
        self._ours: list[Tenancy] = []
        self._theirs: list[Tenancy] = []
        self._decided: list[Any] = []
        self._promised = Promised(world.objective, world.discount)
        self.outcomes: list[tuple[Outcome, Outcome]] = []
        """(ours, the base's) of the requests of each slot since its episode began."""

    def reset(self) -> Table:
        """(slots, GROUPS, features) at the first tick of new episodes."""
        drawn = [self._world.case(self.random) for _ in range(self.teams // self._copies)]
        self._theirs = [self._tenancy(*one) for one in drawn]
        self._ours = [self._tenancy(*one) for one in drawn for _ in range(self._copies)]
        pairs = self._look()
        self._promised.begin([ours for ours, _ in pairs])
        self.outcomes = [(ours.outcome, theirs.outcome) for ours, theirs in pairs]
        return self._table()

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Table, Table, bool]:
        """(slots, GROUPS) actions in -1..1; then features, (slots,) rewards, whether all ended."""
        n = self._world.agents
        proposals = [
            moved(one.proposal, action) for one, action in zip(self._decided, actions, strict=True)
        ]
        for i, ours in enumerate(self._ours):
            ours.act(proposals[i * n : (i + 1) * n])
        for theirs in self._theirs:
            theirs.act()
        pairs = self._look()
        self.outcomes = [
            (ours + more.outcome, theirs + their_more.outcome)
            for (ours, theirs), (more, their_more) in zip(self.outcomes, pairs, strict=True)
        ]
        shaping = self._promised.shaping([ours for ours, _ in pairs])
        rewards = [
            advantage(ours, theirs, base.mean_s, self._world.objective) + more
            for (ours, theirs), (_, base), more in zip(pairs, self.outcomes, shaping, strict=True)
        ]
        ended = self._ours[0].now_s >= self._world.draw.duration_s - 1e-9
        return self._table(), np.array(rewards, np.float32), ended

    def ratios(self) -> Floats:
        """(slots,) mean latency of each agent's own requests over the same under the base."""
        return np.array([ours.mean_s / theirs.mean_s for ours, theirs in self.outcomes])

    def _tenancy(self, case: Case, seed: int) -> Tenancy:
        return Tenancy(self._stages, self._policies, case, seed)

    def _look(self) -> list[tuple[Felt, Felt]]:
        """(ours, the base's) of each slot since the last tick."""
        self._decided = [one for ours in self._ours for one in ours.look()]
        for one in self._theirs:
            one.look()
        theirs = [one.felt() for one in self._theirs]
        return [
            pair
            for i, ours in enumerate(self._ours)
            for pair in zip(ours.felt(), theirs[i // self._copies], strict=True)
        ]

    def _table(self) -> Table:
        decided = self._decided
        seen = features_of([d.situation for d in decided], [d.proposal.shares for d in decided])
        table = np.zeros((self.slots, GROUPS, len(FEATURES)), np.float32)
        table[:, : seen.table.shape[1]] = seen.table
        return table
