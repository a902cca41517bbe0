"""How far a policy gets on a toy: 0 is the base, 1 the optimum that theory gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from policies.agents.hierarchy import HierarchyLearner, StrategyVecEnv
from policies.agents.recurrent import RecurrentLearner
from policies.agents.registry import Learner
from policies.agents.team import TeamLearner
from policies.env.episodes import World
from policies.env.machines import MachineEpisodes, SharedMachines
from policies.env.routing import Routing, RoutingEpisodes, reached
from policies.env.strategy import FewOrMany
from policies.training.watch import played

FAR = 99
"""Seeds cases that no training draws."""
CASES = 192


def score(world: World, actor: nn.Module) -> float:
    """How far it gets on cases that it has not seen."""
    if isinstance(world, Routing):
        routing = RoutingEpisodes(world, CASES, FAR)
        played(routing, actor)
        return reached(routing)
    assert isinstance(world, SharedMachines)
    machines = MachineEpisodes(world, CASES // 3 * world.agents, FAR)
    played(machines, actor)
    return together(machines) if world.shared else apart(machines)


def together(episodes: MachineEpisodes) -> float:
    """Of what the least total time is below the base's, on a logarithmic scale."""
    ours, best = (
        np.log(episodes.costs(shares) / episodes.costs(episodes.base)).mean()
        for shares in (episodes.shares, episodes.settled())
    )
    return float(ours / best)


def apart(episodes: MachineEpisodes) -> float:
    """Of the base's distance from the equilibrium (L1)."""
    settled = episodes.settled()
    ours, base = (
        np.abs(shares - settled).sum(axis=2).mean() for shares in (episodes.shares, episodes.base)
    )
    return float(1.0 - ours / base)


def score_of(learner: Learner, world: World) -> float:
    """That of what it has learned, with its memory and for the whole team."""
    if isinstance(learner, TeamLearner):
        return score(world, learner.team())
    if isinstance(learner, RecurrentLearner):
        return score(world, _Remembering(learner.teacher(CASES)))
    if isinstance(learner, HierarchyLearner):
        assert isinstance(world, FewOrMany)
        return strategic(learner, world)
    return score(world, learner.actor())


def strategic(learner: HierarchyLearner, world: FewOrMany, steps: int = 30) -> float:
    """The part of all decisions about strategy that are those of the best policy."""
    cost, discount = learner.settings.switch_cost, learner.settings.discount
    best, episodes = world.best(cost, discount), world.episodes(CASES, FAR)
    env = StrategyVecEnv(episodes, None, cost)
    seen, right = env.reset(), 0
    for _ in range(steps):
        wanted = best[episodes.many, env.chosen]
        actions = learner.high.predict(seen, deterministic=True)[0]
        right += int((np.where(actions == env.count, env.chosen, actions) == wanted).sum())
        env.step_async(actions)
        seen = env.step_wait()[0]
    return right / (CASES * steps)


class _Remembering(nn.Module):  # type: ignore[misc]
    """A teacher in place of an actor, for one episode."""

    def __init__(self, teacher: Any) -> None:  # noqa: ANN401
        super().__init__()
        self._teacher, self._first = teacher, True

    def forward(self, table: torch.Tensor) -> torch.Tensor:
        first, self._first = self._first, False
        moves: torch.Tensor = self._teacher(table, first)
        return moves
