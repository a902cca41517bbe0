"""SAC and TD3 of Stable-Baselines3 and TQC of sb3-contrib, with our network.

Their networks look at a table as one long row; ours share weights between groups. What these
algorithms ask of a policy is little: an actor, critics, copies of them, and optimisers.
"""

# ruff: noqa: ANN401 - the signatures are those of Stable-Baselines3
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sb3_contrib import TQC
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn
from torch.distributions import Normal

from policies.agents.network import PRESENT, ActionCritic, Actor, Bounded
from policies.agents.repeat import repeatable
from policies.agents.sb3 import Sb3Learner
from policies.agents.settings import OffPolicy, Sac, Td3, Tqc
from policies.agents.vector import EpisodesVecEnv
from policies.env.episodes import GROUPS, World

_STD = (-5.0, 0.5)
"""Logarithms of the least and the most standard deviation, before squashing."""


class _Modes(nn.Module):  # type: ignore[misc]
    """A module that Stable-Baselines3 can switch between learning and playing."""

    def set_training_mode(self, mode: bool) -> None:
        """As `train`."""
        self.train(mode)


class Squashed(_Modes):
    """A normal distribution for each group, squashed by tanh; groups not there do not count."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.mean = Actor(width, layers, centred=True)
        self.spread = nn.Linear(width, 1)

    def forward(self, obs: Tensor, deterministic: bool = False) -> Tensor:
        """Actions."""
        around = self._around(obs)
        return torch.tanh(around.mean if deterministic else around.rsample()) * obs[:, :, PRESENT]

    def action_log_prob(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and their log probabilities, scaled to as many groups as there can be.

        So the entropy that is wanted is the same for a group of two as for one of four.
        """
        around, present = self._around(obs), obs[:, :, PRESENT]
        before = around.rsample()
        # log |d tanh(u)/du| in the form that neither over- nor underflows.
        slope = 2.0 * (np.log(2.0) - before - nn.functional.softplus(-2.0 * before))
        each = (around.log_prob(before) - slope) * present
        log_prob = each.sum(1) / present.sum(1).clamp(min=1.0) * GROUPS
        return torch.tanh(before) * present, log_prob

    def _around(self, obs: Tensor) -> Normal:
        x = self.mean.body(obs)
        return Normal(self.mean.answer(x, obs), self.spread(x).squeeze(-1).clamp(*_STD).exp())


class Certain(_Modes):
    """One action for each group, squashed."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.mean = Actor(width, layers, centred=True)

    def forward(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """Actions."""
        return torch.tanh(self.mean(obs))


class Twins(_Modes):
    """Two critics, each of which gives (b, 1)."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(ActionCritic(width, layers) for _ in range(2))

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """What each says."""
        return tuple(critic(obs, actions) for critic in self.each)

    def q1_forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """What the first says."""
        value: Tensor = self.each[0](obs, actions)
        return value


class Quantiles(Twins):
    """Two critics, each of which gives the quantiles of what is to come."""

    def __init__(self, width: int, layers: int, quantiles: int) -> None:
        super().__init__(width, layers)
        self.each = nn.ModuleList(ActionCritic(width, layers, quantiles) for _ in range(2))
        self.n_critics = len(self.each)
        self.quantiles_total = self.n_critics * quantiles

    def forward(self, obs: Tensor, actions: Tensor) -> Any:
        """(b, critics, quantiles)."""
        return torch.stack([critic(obs, actions) for critic in self.each], dim=1)


class _Groups:
    """Makes the networks of a policy ours. Beside one of their policies, before it."""

    optimizer_class: Any
    optimizer_kwargs: Any

    def __init__(
        self, *args: Any, width: int = 48, layers: int = 2, quantiles: int = 0, **kw: Any
    ) -> None:
        self._sizes, self._quantiles = (width, layers), quantiles
        super().__init__(*args, **kw)

    def _build(self, lr_schedule: Any) -> None:
        self.actor = self._actor()
        self.critic, self.critic_target = self._critic(), self._critic()
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.critic_target.set_training_mode(False)
        for part in (self.actor, self.critic):
            part.optimizer = self.optimizer_class(
                part.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
            )

    def _actor(self) -> Any:
        return Squashed(*self._sizes)

    def _critic(self) -> Any:
        return Twins(*self._sizes)


class GroupSacPolicy(_Groups, SACPolicy):  # type: ignore[misc]
    """For SAC."""


class GroupTqcPolicy(_Groups, TQCPolicy):  # type: ignore[misc]
    """For TQC."""

    def _critic(self) -> Any:
        return Quantiles(*self._sizes, self._quantiles)


class GroupTd3Policy(_Groups, TD3Policy):  # type: ignore[misc]
    """For TD3."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.actor_target = self._actor()
        self.actor_target.load_state_dict(self.actor.state_dict())
        self.actor_target.set_training_mode(False)

    def _actor(self) -> Any:
        return Certain(*self._sizes)


def sac(settings: Sac, world: World, seed: int) -> Sb3Learner:
    """Soft actor-critic."""
    return _learner(SAC, GroupSacPolicy, settings, world, seed, **_temperature(settings))


def tqc(settings: Tqc, world: World, seed: int) -> Sb3Learner:
    """Truncated quantile critics."""
    return _learner(
        TQC,
        GroupTqcPolicy,
        settings,
        world,
        seed,
        sizes={"quantiles": settings.quantiles},
        top_quantiles_to_drop_per_net=settings.dropped,
        **_temperature(settings),
    )


def td3(settings: Td3, world: World, seed: int) -> Sb3Learner:
    """Twin delayed deep deterministic policy gradient."""
    noise = NormalActionNoise(np.zeros(GROUPS), np.full(GROUPS, settings.noise))
    return _learner(
        TD3,
        GroupTd3Policy,
        settings,
        world,
        seed,
        action_noise=VectorizedActionNoise(noise, settings.slots),
    )


def _temperature(settings: Sac) -> dict[str, Any]:
    return {
        "ent_coef": f"auto_{settings.temperature}",
        "target_entropy": settings.entropy_per_group * GROUPS,
    }


def replay(settings: OffPolicy) -> dict[str, Any]:
    """What all algorithms of theirs with a replay buffer take."""
    return {
        "learning_rate": settings.learning_rate,
        "buffer_size": settings.buffer,
        "batch_size": settings.batch,
        "learning_starts": settings.warmup,
        "train_freq": (settings.every, "step"),
        "gradient_steps": settings.updates,
        "gamma": settings.discount,
        "tau": settings.tau,
        "device": settings.device,
    }


def _learner(
    kind: Any,
    policy: Any,
    settings: OffPolicy,
    world: World,
    seed: int,
    sizes: dict[str, Any] | None = None,
    **more: Any,
) -> Sb3Learner:
    repeatable(seed)
    episodes = world.episodes(settings.slots, seed, settings.copies)
    model = kind(
        policy,
        EpisodesVecEnv(episodes, settings.copies),
        seed=seed,
        policy_kwargs={"width": settings.width, "layers": settings.layers, **(sizes or {})},
        **replay(settings),
        **more,
    )
    episodes.seed(seed)
    return Sb3Learner(model, lambda model: Bounded(model.policy.actor.mean))
