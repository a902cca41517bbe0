"""PettingZoo environments: several agents that act at the same time.

services(draw, 3)                                   # simulated services, one reward for all
services_on_machines()                              # that they share; a reward for each
envoys()                                            # of a simulated service, one reward
regions()                                           # of a simulated service, one reward for all
several(SharedMachines.per_region(3), "region", 3)  # regions, in theory
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from policies.env.draw import Draw
from policies.env.episodes import GROUPS, Table, World
from policies.env.service import FIRST_SEED, moved, seen
from policies.env.simulated import Simulated
from policies.env.simulated_machines import SimulatedMachines
from policies.env.simulated_regions import SimulatedRegions, regional_draw


class SeveralEnv(ParallelEnv):  # type: ignore[misc]
    """The slots of a world, each an agent; `shared`: all are rewarded with the mean of all."""

    def __init__(self, world: World, agents: list[str], *, shared: bool = False) -> None:
        self.metadata = {"name": "weir_several_v0", "render_modes": [], "is_parallelizable": True}
        self.possible_agents = list(agents)
        self.agents: list[str] = []
        self.render_mode = None
        self._shared = shared
        self._spaces = {name: (seen(), moved()) for name in agents}
        self._episodes = world.episodes(len(agents), FIRST_SEED)

    def observation_space(self, agent: str) -> spaces.Box:
        """(GROUPS, features), the same for all."""
        return self._spaces[agent][0]

    def action_space(self, agent: str) -> spaces.Box:
        """(GROUPS,), the same for all."""
        return self._spaces[agent][1]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Table], dict[str, dict[str, Any]]]:
        """New cases."""
        if seed is not None:
            self._episodes.seed(seed)
        self.agents = list(self.possible_agents)
        table = self._episodes.reset()
        return self._named(table), {name: {} for name in self.agents}

    def step(self, actions: dict[str, Table]) -> tuple[dict[str, Any], ...]:
        """One tick of all. They end together, by time alone."""
        rows = [actions.get(name, np.zeros(GROUPS, np.float32)) for name in self.possible_agents]
        table, rewards, ended = self._episodes.step(np.stack(rows))
        if self._shared:
            rewards = np.full_like(rewards, rewards.mean())
        ratios = self._episodes.ratios()
        answer = (
            self._named(table),
            {name: float(reward) for name, reward in zip(self.agents, rewards, strict=True)},
            dict.fromkeys(self.agents, False),
            dict.fromkeys(self.agents, ended),
            {name: {"ratio": float(one)} for name, one in zip(self.agents, ratios, strict=True)},
        )
        if ended:
            self.agents = []
        return answer

    def _named(self, table: Table) -> dict[str, Table]:
        return dict(zip(self.agents, table, strict=True))


def several(world: World, kind: str, count: int, *, shared: bool = False) -> SeveralEnv:
    """So many agents of a kind: `region-0`, `region-1` and so on."""
    return SeveralEnv(world, [f"{kind}-{i}" for i in range(count)], shared=shared)


def services(draw: Draw, count: int) -> SeveralEnv:
    """Simulated services, each with machines of its own, that share one reward."""
    return several(Simulated(draw), "service", count, shared=True)


def regions(draw: Draw | None = None, count: int = 3) -> SeveralEnv:
    """The regions of a simulated service, of which it has at most so many, with one reward."""
    world = SimulatedRegions(draw or regional_draw(), count)
    return several(world, "region", count, shared=True)


def services_on_machines(
    draw: Draw | None = None, count: int = 3, *, shared: bool = False
) -> SeveralEnv:
    """Simulated services on the same machines: each for itself, unless the reward is `shared`."""
    return several(SimulatedMachines.per_service(draw, count), "service", count, shared=shared)


def envoys(draw: Draw | None = None, count: int = 8) -> SeveralEnv:
    """The Envoys of a simulated service, each with a split of its own, with one reward."""
    return several(SimulatedMachines.per_envoy(draw, count), "envoy", count, shared=True)
