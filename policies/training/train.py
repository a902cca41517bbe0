"""A training run: a recipe in, the best policy that it met and its learning curve out."""

# ruff: noqa: ANN401 - Stable-Baselines3 has no types
from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import set_random_seed

from policies.env.paired import Paired
from policies.training.network import Actor
from policies.training.policy import GroupPolicy
from policies.training.recipe import Recipe
from policies.training.vector import PairedVecEnv

VALIDATION_SEED = 424_242
"""Draws the validation cases: other cases than training's, from the same ranges."""

Progress = Callable[[int, str], None]
"""Told the steps that are done, and one line about them."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the learning curve."""

    step: int
    reward: float
    """Mean return of the newest training episodes, which explore."""
    ratio: float | None = None
    """Mean latency over the base's on the validation cases, without exploring; geometric mean."""


@dataclass(slots=True)
class Trained:
    """What came of a run."""

    recipe: Recipe
    actor: Actor
    step: int = 0
    ratio: float = float("inf")
    curve: list[Point] = field(default_factory=list)


def train(recipe: Recipe, *, logs: Path | None = None, progress: Progress | None = None) -> Trained:
    """Run the recipe. Deterministic: one thread, one seed."""
    paired = Paired(recipe.scenarios, recipe.ppo.slots, recipe.seed, recipe.ppo.copies)
    model = learner(recipe, paired)
    sinks = ["tensorboard", "csv"] if logs is not None else []
    model.set_logger(configure(None if logs is None else str(logs), sinks))
    watch = _Watch(recipe, progress, logs)
    model.learn(recipe.steps, callback=watch)
    trained = watch.result(model)
    if logs is not None:
        curve = [asdict(point) for point in trained.curve]
        (logs / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")
    return trained


def learner(recipe: Recipe, paired: Paired) -> Any:
    """A PPO of Stable-Baselines3 that has not learned anything yet."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    set_random_seed(recipe.seed)
    settings = recipe.ppo
    model = PPO(
        GroupPolicy,
        PairedVecEnv(paired, settings.copies),
        n_steps=recipe.rollout,
        batch_size=settings.batch,
        n_epochs=settings.epochs,
        gamma=settings.discount,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip,
        learning_rate=lambda left: settings.learning_rate * max(left, 0.05),
        ent_coef=settings.entropy,
        target_kl=settings.target_kl,
        policy_kwargs={
            "width": settings.width,
            "layers": settings.layers,
            "deviation": settings.deviation,
        },
        seed=recipe.seed,
        device="cpu",
    )
    paired.seed(recipe.seed)
    return model


class _Watch(BaseCallback):  # type: ignore[misc]
    """Keeps the curve, and the best policy on the validation cases."""

    def __init__(self, recipe: Recipe, progress: Progress | None, logs: Path | None) -> None:
        super().__init__()
        self._logs = logs
        self._recipe = recipe
        self._progress = progress
        self._validation = Paired(recipe.scenarios, recipe.check_cases, VALIDATION_SEED)
        self._rollouts = 0
        self._curve: list[Point] = []
        self._best: tuple[float, int, Any] = (float("inf"), 0, None)
        self._mean: Actor | None = None

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        """The policy that has just played is the one to judge: the update comes after."""
        self._average(self.model.policy.actor)
        reward = float(np.mean([e["r"] for e in self.model.ep_info_buffer] or [0.0]))
        ratio = None
        if self._rollouts % self._recipe.check_every == 0:
            ratio = self._check()
        self._rollouts += 1
        self._curve.append(Point(self.num_timesteps, reward, ratio))
        if self._progress is not None:
            best = f"best {self._best[0]:.3f} of the base" if self._best[2] else ""
            self._progress(self.num_timesteps, f"return {reward:+.2f} {best}")

    def _average(self, newest: Actor) -> None:
        """The mean of the newest policies moves less with the luck of a batch than any of them."""
        if self._mean is None:
            self._mean = copy.deepcopy(newest)
            return
        keep = self._recipe.ppo.averaging
        with torch.no_grad():
            for mean, new in zip(self._mean.parameters(), newest.parameters(), strict=True):
                mean.mul_(keep).add_(new, alpha=1.0 - keep)

    def _check(self) -> float:
        actor = self._mean
        assert actor is not None
        ratio = validate(self._validation, actor)
        self.logger.record("validation/mean_latency_ratio", ratio)
        if ratio < self._best[0]:
            self._best = (ratio, self.num_timesteps, copy.deepcopy(actor.state_dict()))
            if self._logs is not None:  # a run that is broken off leaves its best
                torch.save(self._best[2], self._logs / "best.pt")
        return ratio

    def result(self, model: Any) -> Trained:
        """The best of what was checked, the last included."""
        self._average(model.policy.actor)
        self._curve.append(Point(self.num_timesteps, self._curve[-1].reward, self._check()))
        ratio, step, weights = self._best
        actor = Actor(self._recipe.ppo.width, self._recipe.ppo.layers)
        actor.load_state_dict(weights)
        return Trained(self._recipe, actor.eval(), step, ratio, self._curve)


def validate(paired: Paired, actor: Actor) -> float:
    """Mean latency over the base's, geometric mean over always the same cases."""
    paired.seed(VALIDATION_SEED)
    table, ended = paired.reset(), False
    while not ended:
        with torch.no_grad():
            actions = actor(torch.from_numpy(table)).numpy()
        table, _, ended = paired.step(actions)
    return float(
        np.exp(np.mean([np.log(ours.mean_s / theirs.mean_s) for ours, theirs in paired.episodes]))
    )
