"""The network as a policy of Stable-Baselines3: a normal distribution around the actor's answer."""

# ruff: noqa: ANN401 - the signatures are those of Stable-Baselines3
from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn
from torch.distributions import Normal

from policies.training.network import PRESENT, Actor, Critic


class GroupPolicy(ActorCriticPolicy):  # type: ignore[misc]
    """One standard deviation for all groups; groups that are not there do not count."""

    def __init__(
        self, *args: Any, width: int = 48, layers: int = 2, deviation: float = 0.4, **kw: Any
    ) -> None:
        self._width, self._layers, self._deviation = width, layers, deviation
        super().__init__(*args, **kw)

    def _build(self, lr_schedule: Any) -> None:
        self.actor = Actor(self._width, self._layers)
        self.critic = Critic(self._width, self._layers)
        self.log_std = nn.Parameter(torch.log(torch.tensor(self._deviation)))
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values, log probabilities."""
        around = self._around(obs)
        actions = around.mean if deterministic else around.rsample()
        actions = actions * obs[:, :, PRESENT]
        return actions, self.critic(obs).unsqueeze(1), _log_prob(around, actions, obs)

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values, log probabilities, entropy."""
        around = self._around(obs)
        entropy = (around.entropy() * obs[:, :, PRESENT]).sum(1)
        return self.critic(obs).unsqueeze(1), _log_prob(around, actions, obs), entropy

    def predict_values(self, obs: Tensor) -> Tensor:
        """(b, 1)"""
        return self.critic(obs).unsqueeze(1)

    def _predict(self, observation: Tensor, deterministic: bool = False) -> Tensor:
        actions: Tensor = self.forward(observation, deterministic)[0]
        return actions

    def _around(self, obs: Tensor) -> Normal:
        return Normal(self.actor(obs), self.log_std.exp())


def _log_prob(around: Normal, actions: Tensor, obs: Tensor) -> Tensor:
    return (around.log_prob(actions) * obs[:, :, PRESENT]).sum(1)
