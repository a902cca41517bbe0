"""PPO with a memory: sb3-contrib's RecurrentPPO behind our layers.

Its LSTM has a place for each group, up to GROUPS, and a state for each service; serving has
neither, so what is released is a pupil without memory (`distil`). What memory could add over the
features, which have averages over 2, 8 and 30 s, is what this is here to find out.
"""

# ruff: noqa: ANN401 - the signatures are those of Stable-Baselines3
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from policies.agents.distil import distilled
from policies.agents.network import Actor, Body
from policies.agents.on_policy import updates
from policies.agents.repeat import repeatable
from policies.agents.sb3 import Sb3Learner
from policies.agents.settings import RecurrentPpo
from policies.agents.vector import EpisodesVecEnv
from policies.env.episodes import GROUPS, World


class InPlaces(BaseFeaturesExtractor):  # type: ignore[misc]
    """What our layers make of each group, one after the other."""

    def __init__(self, observation_space: spaces.Space[Any], width: int, layers: int) -> None:
        super().__init__(observation_space, GROUPS * width)
        self.body = Body(width, layers)

    def forward(self, table: Tensor) -> Tensor:
        """(b, GROUPS, features) to (b, GROUPS width)."""
        return self.body(table).flatten(1)


class RecurrentLearner(Sb3Learner):
    """Their model, and the pupil that it teaches when it has learned."""

    def __init__(self, model: Any, settings: RecurrentPpo, world: World, seed: int) -> None:
        super().__init__(model, lambda _: None)
        self._settings, self._world, self._seed = settings, world, seed

    def teacher(self, slots: int) -> Any:
        """The policy with its memory: asked with a table and whether an episode begins."""
        state: Any = None

        def act(table: Tensor, first: bool) -> Tensor:
            nonlocal state
            state = None if first else state
            actions, state = self.model.predict(
                table.numpy(), state, np.full(slots, first), deterministic=True
            )
            return torch.from_numpy(actions)

        return act

    def blank(self) -> nn.Module:
        """A pupil that was not taught."""
        return Actor(self._settings.width, self._settings.layers)

    def actor(self) -> nn.Module | None:
        """The pupil; None while it learns."""
        if self.model.num_timesteps < self.model._total_timesteps:
            return None
        settings = self._settings
        return distilled(
            self.teacher(settings.slots),
            self._world.episodes(settings.slots, self._seed + 1),
            width=settings.width,
            layers=settings.layers,
            lessons=settings.lessons,
            seed=self._seed,
        )


def recurrent_ppo(settings: RecurrentPpo, world: World, seed: int) -> RecurrentLearner:
    """PPO with an LSTM."""
    repeatable(seed)
    episodes = world.episodes(settings.slots, seed, settings.copies)
    model = RecurrentPPO(
        "MlpLstmPolicy",
        EpisodesVecEnv(episodes, settings.copies),
        policy_kwargs={
            "features_extractor_class": InPlaces,
            "features_extractor_kwargs": {"width": settings.width, "layers": settings.layers},
            "lstm_hidden_size": settings.memory,
            "net_arch": [],
            "log_std_init": float(np.log(settings.deviation)),
        },
        seed=seed,
        device=settings.device,
        **updates(settings, world),
    )
    episodes.seed(seed)
    return RecurrentLearner(model, settings, world, seed)
