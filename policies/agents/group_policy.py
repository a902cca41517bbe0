"""The network as a policy of Stable-Baselines3: a normal distribution around the actor's answer."""

# ruff: noqa: ANN401 - the signatures are those of Stable-Baselines3
from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn
from torch.distributions import Normal

from policies.agents.network import PRESENT, Actor, Critic


class GroupPolicy(ActorCriticPolicy):  # type: ignore[misc]
    """One standard deviation for all groups; groups that are not there do not count."""

    def __init__(
        self,
        *args: Any,
        width: int = 48,
        layers: int = 2,
        centred: bool = False,
        deviation: float = 0.4,
        **kw: Any,
    ) -> None:
        self._width, self._layers, self._deviation = width, layers, deviation
        self._centred = centred
        super().__init__(*args, **kw)

    def _build(self, lr_schedule: Any) -> None:
        self._networks()
        self.log_std = nn.Parameter(torch.log(torch.tensor(self._deviation)))
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _networks(self) -> None:
        self.actor = self._actor()
        self.critic = Critic(self._width, self._layers)

    def _actor(self) -> Actor:
        return Actor(self._width, self._layers, centred=self._centred)

    def means(self, obs: Any) -> Tensor:
        """(b, g) what it does without exploring."""
        means: Tensor = self.actor(obs)
        return means

    def values(self, obs: Any) -> Tensor:
        """(b,) what is still to come."""
        values: Tensor = self.critic(obs)
        return values

    def present(self, obs: Any) -> Tensor:
        """(b, g) 1 where there is a group."""
        here: Tensor = obs[:, :, PRESENT]
        return here

    def forward(self, obs: Any, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values, log probabilities."""
        around, present = self._around(obs), self.present(obs)
        actions = around.mean if deterministic else around.rsample()
        actions = actions * present
        return actions, self.values(obs).unsqueeze(1), _log_prob(around, actions, present)

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values, log probabilities, entropy."""
        around, present = self._around(obs), self.present(obs)
        entropy = (around.entropy() * present).sum(1)
        return self.values(obs).unsqueeze(1), _log_prob(around, actions, present), entropy

    def predict_values(self, obs: Any) -> Tensor:
        """(b, 1)"""
        return self.values(obs).unsqueeze(1)

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        actions: Tensor = self.forward(observation, deterministic)[0]
        return actions

    def _around(self, obs: Any) -> Normal:
        return Normal(self.means(obs), self.log_std.exp())


def _log_prob(around: Normal, actions: Tensor, present: Tensor) -> Tensor:
    return (around.log_prob(actions) * present).sum(1)
