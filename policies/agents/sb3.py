"""What all learners of Stable-Baselines3 and sb3-contrib have in common."""

# ruff: noqa: ANN401 - Stable-Baselines3 has no types
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from policies.agents.registry import Between, Losses, Told, nothing
from policies.agents.replay import refilled, replayed

_COUNTS = (
    "num_timesteps",
    "_n_updates",
    "_n_calls",
    "_episode_num",
    "_current_progress_remaining",
    "exploration_rate",
)
"""Numbers of theirs on which it depends how learning goes on; no algorithm has all."""


class Sb3Learner:
    """A model of theirs, and what of it is the actor."""

    def __init__(self, model: Any, actor_of: Callable[[Any], Any]) -> None:
        self.model = model
        # Their `configure` would make a folder under /tmp for each model, and leave it there.
        self.model.set_logger(Logger(None, []))
        self._actor_of = actor_of

    def log_to(self, losses: Losses) -> None:
        """What they log of updates."""
        self.model.set_logger(Logger(None, [_Losses(losses)]))

    def learn(self, steps: int, told: Told, between: Between = nothing) -> None:
        """Until at least so many steps are done: whole rollouts."""
        left = steps - self.model.num_timesteps
        if left > 0:
            self.model.learn(
                left,
                callback=_Tell(told, self.actor, between),
                log_interval=None,  # `_Tell` says when
                reset_num_timesteps=False,
            )

    def actor(self) -> Any:
        """The policy without exploration."""
        return self._actor_of(self.model)

    def blank(self) -> Any:
        """As it is now."""
        return self._actor_of(self.model)

    def state(self) -> dict[str, Any]:
        """Weights, optimisers, counts, replay buffer, memory, and where chance stands."""
        model = self.model
        state: dict[str, Any] = {
            "parameters": model.get_parameters(),
            "tensors": {name: attrgetter(name)(model) for name in _tensors(model)},
            "counts": {name: getattr(model, name) for name in _COUNTS if hasattr(model, name)},
            "explored": model.action_space.np_random.bit_generator.state,
            "episodes": model.env.state(),
        }
        if getattr(model, "replay_buffer", None) is not None:
            state["replay"] = replayed(model.replay_buffer)
        if hasattr(model, "_last_lstm_states"):
            state["memory"] = [part for pair in model._last_lstm_states for part in pair]
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """As the model was."""
        model = self.model
        model.set_parameters(state["parameters"], device=model.device)
        for name, value in state["tensors"].items():
            attrgetter(name)(model).data.copy_(value)  # in place: an optimiser has it
        for name, value in state["counts"].items():
            setattr(model, name, value)
        model.action_space.np_random.bit_generator.state = state["explored"]
        model.env.restore(state["episodes"])
        if "replay" in state:
            refilled(model.replay_buffer, state["replay"])
        if "memory" in state:
            now = [part for pair in model._last_lstm_states for part in pair]
            for part, value in zip(now, state["memory"], strict=True):
                part.copy_(value)


def _tensors(model: Any) -> list[str]:
    """Names of what is learned beside modules: SAC's temperature."""
    return list(model._get_torch_save_params()[1])


class _Tell(BaseCallback):  # type: ignore[misc]
    """The policy that has just played is the one to judge: the update comes after."""

    def __init__(self, told: Told, actor: Callable[[], Any], between: Between) -> None:
        super().__init__()
        self._told, self._actor, self._between = told, actor, between

    def _on_rollout_start(self) -> None:
        if self.training_env.begun:  # then the episodes of now can be drawn again
            self.logger.dump(self.num_timesteps)
            self._between()

    def _on_training_end(self) -> None:
        self.logger.dump(self.num_timesteps)

    def _on_step(self) -> bool:
        if self.locals["dones"][0]:  # then all episodes end
            returns = [info["episode"]["r"] for info in self.locals["infos"]]
            self._told(self.num_timesteps, self._actor(), float(np.mean(returns)))
        return True


class _Losses(KVWriter):  # type: ignore[misc]
    """Hands on what they log of updates; returns and speed we know better."""

    def __init__(self, told: Losses) -> None:
        self._told = told

    def write(self, key_values: Mapping[str, Any], key_excluded: Any, step: int = 0) -> None:
        """At each of their dumps."""
        losses = {
            name.removeprefix("train/"): float(value)
            for name, value in key_values.items()
            if name.startswith("train/") and "tensorboard" not in key_excluded[name]
        }
        if losses:
            self._told(step, losses)

    def close(self) -> None:
        """Nothing is held."""


def on_cpu(module: torch.nn.Module) -> torch.nn.Module:
    """The same module where it is on the CPU, else a copy that is."""
    if all(one.device.type == "cpu" for one in module.parameters()):
        return module
    return copy.deepcopy(module).cpu()
