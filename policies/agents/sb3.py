"""What all learners of Stable-Baselines3 and sb3-contrib have in common."""

# ruff: noqa: ANN401 - Stable-Baselines3 has no types
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import set_random_seed

from policies.agents.registry import Told


def repeatable(seed: int) -> None:
    """One thread and one seed: a run can be repeated to the last bit."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    set_random_seed(seed)


class Sb3Learner:
    """A model of theirs, and what of it is the actor."""

    def __init__(self, model: Any, actor_of: Callable[[Any], Any]) -> None:
        self.model = model
        self.model.set_logger(configure(None, []))
        self._actor_of = actor_of

    def log_to(self, folder: Path) -> None:
        """Losses and the like, for TensorBoard and as a table."""
        self.model.set_logger(configure(str(folder), ["tensorboard", "csv"]))

    def learn(self, steps: int, told: Told) -> None:
        """Until at least so many steps are done: whole rollouts."""
        self.model.learn(steps, callback=_Tell(told, self.actor))

    def actor(self) -> Any:
        """The policy without exploration."""
        return self._actor_of(self.model)


class _Tell(BaseCallback):  # type: ignore[misc]
    """The policy that has just played is the one to judge: the update comes after."""

    def __init__(self, told: Told, actor: Callable[[], Any]) -> None:
        super().__init__()
        self._told, self._actor = told, actor

    def _on_step(self) -> bool:
        if self.locals["dones"][0]:  # then all episodes end
            returns = [info["episode"]["r"] for info in self.locals["infos"]]
            self._told(self.num_timesteps, self._actor(), float(np.mean(returns)))
        return True
