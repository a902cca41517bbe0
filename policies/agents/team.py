"""Several agents that learn at the same time: PPO of Stable-Baselines3 with networks for a team.

One rollout has the steps of all agents, and a policy here sends each step through the networks of
the agent that made it. So three algorithms are one: parameters shared by all agents; each agent
with its own (independent: no gradient of one reaches another's networks); and a critic that sees
what all see while they learn, which playing does not need (centralised training, decentralised
execution).
"""

# ruff: noqa: ANN401 - the signatures are those of Stable-Baselines3
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from torch import Tensor, nn

from controlplane.model.features import CUT, FEATURES
from policies.agents.group_policy import GroupPolicy
from policies.agents.network import PRESENT, Body, Critic, pooled
from policies.agents.on_policy import network_of, updates
from policies.agents.repeat import repeatable
from policies.agents.sb3 import Sb3Learner
from policies.agents.settings import TeamPpo
from policies.agents.vector import EpisodesVecEnv, beyond_the_others
from policies.env.episodes import GROUPS, Episodes, Table, World
from policies.env.service import seen


class TeamVecEnv(EpisodesVecEnv):
    """Each agent is told what it sees, what all of its team see, and which of them it is.

    `copies` teams in a row play the same case: an agent is measured by what it got in the others.
    """

    def __init__(self, episodes: Episodes, agents: int, together: bool, copies: int = 1) -> None:
        super().__init__(episodes, copies)
        self._agents, self._together = agents, together
        table = seen()
        whole = (agents, *table.shape)
        self.observation_space = spaces.Dict(
            {
                "own": table,
                "all": spaces.Box(-CUT, CUT, whole, np.float32),
                "agent": spaces.Box(0.0, float(agents), (1,), np.float32),
            }
        )
        self._who = np.tile(np.arange(agents, dtype=np.float32), self.num_envs // agents)[:, None]

    def observed(self, table: Table) -> dict[str, Table]:
        """For each agent."""
        teams = table.reshape(-1, self._agents, GROUPS, len(FEATURES))
        whole = np.repeat(teams, self._agents, axis=0)
        return {"own": table, "all": whole, "agent": self._who.copy()}

    def rewarded(self, rewards: Table) -> Table:
        """Its own, or the mean of its team; of copies, how much more than in the others."""
        teams = rewards.reshape(-1, self._agents)
        if self._together:
            teams = np.broadcast_to(teams.mean(axis=1, keepdims=True), teams.shape)
        each = [beyond_the_others(teams[:, i], self._copies) for i in range(self._agents)]
        return np.stack(each, axis=1).astype(np.float32).reshape(-1)


class Each(nn.Module):  # type: ignore[misc]
    """A network for each agent, or one for all."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, agent: Tensor, *seen: Tensor) -> Tensor:
        """Row by row what the network of (b,) agents says."""
        if len(self.networks) == 1:
            only: Tensor = self.networks[0](*seen)
            return only
        said = torch.stack([network(*seen) for network in self.networks])
        return said[agent, torch.arange(len(agent))]


class OverAll(nn.Module):  # type: ignore[misc]
    """A critic that sees the agent's own groups, and those of all of its team."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.own, self.all = Body(width, layers), Body(width, layers)
        self.head = nn.Linear(4 * width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, own: Tensor, whole: Tensor) -> Tensor:
        """(b, g, features) and (b, agents, g, features) to (b,)."""
        whole = whole.flatten(1, 2)
        parts: list[Tensor] = []
        for body, table in ((self.own, own), (self.all, whole)):
            parts += pooled(body(table), table[:, :, PRESENT : PRESENT + 1])
        return self.head(torch.cat(parts, dim=1)).squeeze(-1)


class TeamPolicy(GroupPolicy):
    """Sends each step through the networks of its agent."""

    def __init__(self, *args: Any, agents: int, own_actors: bool, whole: bool, **kw: Any) -> None:
        self._agents, self._own_actors, self._whole = agents, own_actors, whole
        super().__init__(*args, **kw)

    def _networks(self) -> None:
        count, sizes = self._agents if self._own_actors else 1, (self._width, self._layers)
        self.actor = Each([self._actor() for _ in range(count)])
        kind = OverAll if self._whole else Critic
        self.critic = Each([kind(*sizes) for _ in range(count)])

    def means(self, obs: Any) -> Tensor:
        """(b, g) what each does without exploring."""
        return self.actor(_who(obs), obs["own"])

    def values(self, obs: Any) -> Tensor:
        """(b,) what is still to come."""
        seen = (obs["own"], obs["all"]) if self._whole else (obs["own"],)
        return self.critic(_who(obs), *seen)

    def present(self, obs: Any) -> Tensor:
        """(b, g) 1 where there is a group."""
        here: Tensor = obs["own"][:, :, PRESENT]
        return here


class Team(nn.Module):  # type: ignore[misc]
    """What a team does: the rows of a table are its agents, team after team."""

    def __init__(self, actors: Each, agents: int) -> None:
        super().__init__()
        self.actors, self.agents = actors, agents

    def forward(self, table: Tensor) -> Tensor:
        """(teams x agents, g, features) to (teams x agents, g)."""
        return self.actors(torch.arange(len(table)) % self.agents, table)


class TeamLearner(Sb3Learner):
    """Their model. Served is the policy of the first agent, which is every agent's if shared."""

    def __init__(self, model: Any, agents: int) -> None:
        super().__init__(model, lambda model: model.policy.actor.networks[0])
        self._agents = agents

    def team(self) -> Team:
        """What all agents do."""
        return Team(self.model.policy.actor, self._agents)


def _who(obs: Any) -> Tensor:
    who: Tensor = obs["agent"][:, 0].long()
    return who


def team_ppo(settings: TeamPpo, world: World, seed: int) -> TeamLearner:
    """PPO of a team. Raises ValueError for copies in a world that knows no teams."""
    if settings.copies > 1 and not hasattr(world, "agents"):
        raise ValueError("copies: this world copies single agents, not teams")
    repeatable(seed)
    episodes = world.episodes(settings.slots, seed, settings.copies)
    model = PPO(
        TeamPolicy,
        TeamVecEnv(episodes, settings.agents, settings.together, settings.copies),
        policy_kwargs={
            **network_of(settings),
            "agents": settings.agents,
            "own_actors": settings.actors == "own",
            "whole": settings.critics == "all",
        },
        seed=seed,
        device=settings.device,
        **updates(settings, world),
    )
    episodes.seed(seed)
    return TeamLearner(model, settings.agents)
