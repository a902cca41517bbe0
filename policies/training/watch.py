"""What is seen of a run: its learning curve, and the best policy that it met."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from controlplane.model.objective import Objective
from policies.agents.sb3 import on_cpu
from policies.env.episodes import Episodes
from policies.training.recipe import Recipe

VALIDATION_SEED = 424_242
"""Draws the validation cases: other cases than training's, from the same ranges."""

DEFAULT = Objective()

Progress = Callable[[int, str], None]
"""Told the steps that are done, and one line about them."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the learning curve."""

    step: int
    reward: float
    """Mean return of the newest training episodes, which explore."""
    ratio: float | None = None
    """On the validation cases, without exploring: see `validate`."""


@dataclass(frozen=True, slots=True)
class Update:
    """What an update said of itself."""

    step: int
    losses: Mapping[str, float]
    """Losses and the like, by the names that Stable-Baselines3 gives them."""


@dataclass(frozen=True, slots=True)
class Best:
    """A policy, when it was met, and its ratio on the validation cases."""

    ratio: float
    step: int
    actor: nn.Module


class Watch:
    """Is told of each rollout. Averages policies, checks them, and keeps the best."""

    def __init__(
        self,
        recipe: Recipe,
        validation: Episodes,
        progress: Progress | None = None,
        logs: Path | None = None,
        *,
        first_counts: bool = True,
    ) -> None:
        """`first_counts`: whether the policy of the first rollout is one of those that are averaged
        and checked. It is what most algorithms begin with: they learn when it was played."""
        self._recipe, self._validation = recipe, validation
        self._progress, self._logs = progress, logs
        self._first_counts = first_counts
        self._board: Any = None
        self._rollouts = 0
        self._mean: nn.Module | None = None
        self.curve: list[Point] = []
        self.updates: list[Update] = []
        self.best: Best | None = None

    def begun(self, actor: nn.Module) -> None:
        """Before anything was learned: what a run begins as may be kept, and is averaged with."""
        if self.best is None and self._rollouts == 0:
            self._average(actor)
            self._check(0)

    def rolled(self, step: int, actor: nn.Module | None, reward: float) -> None:
        """A rollout was played by this policy; None: by one that needs its memory."""
        ratio = None
        if actor is not None and (self._first_counts or self._rollouts > 0):
            self._average(actor)
            if self._rollouts % self._recipe.check_every == 0:
                ratio = self._check(step)
        self._rollouts += 1
        self._add(Point(step, reward, ratio))
        if self._progress is not None:
            best = f"best {self.best.ratio:.3f} of the base" if self.best else ""
            self._progress(step, f"return {reward:+.2f} {best}")

    def updated(self, step: int, losses: Mapping[str, float]) -> None:
        """The learner learned from what was played."""
        self.updates.append(Update(step, losses))
        for name, value in losses.items():
            self._show(f"losses/{name}", value, step)

    def ended(self, actor: nn.Module) -> Best:
        """The best of all that was checked, the last policy included."""
        last = self.curve[-1] if self.curve else Point(0, 0.0)
        self._average(actor)
        self._add(Point(last.step, last.reward, self._check(last.step)))
        assert self.best is not None
        if self._board is not None:
            self._board.close()
        return self.best

    def state(self) -> dict[str, Any]:
        """All that it knows, for a checkpoint."""
        best = self.best
        return {
            "rollouts": self._rollouts,
            "mean": None if self._mean is None else self._mean.state_dict(),
            "best": best and (best.ratio, best.step, best.actor.state_dict()),
            "curve": [tuple(asdict(point).values()) for point in self.curve],
            "updates": [(update.step, dict(update.losses)) for update in self.updates],
        }

    def restore(self, state: Mapping[str, Any], blank: Callable[[], nn.Module]) -> None:
        """As it was; `blank` gives a module of the kind that it is told of."""
        self._rollouts = state["rollouts"]
        if state["mean"] is not None:
            self._mean = filled(blank, state["mean"])
        if state["best"] is not None:
            ratio, step, weights = state["best"]
            self.best = Best(ratio, step, filled(blank, weights).eval())
        self.curve = [Point(*point) for point in state["curve"]]
        self.updates = [Update(*update) for update in state["updates"]]

    def _add(self, point: Point) -> None:
        self.curve.append(point)
        self._show("training/return", point.reward, point.step)
        if point.ratio is not None:
            by_mean = self._recipe.objective == DEFAULT
            name = "mean_latency_ratio" if by_mean else "by_objective"
            self._show(f"validation/{name}", point.ratio, point.step)

    def _show(self, name: str, value: float, step: int) -> None:
        """In TensorBoard. What a run that was broken off said of this step and later is hidden."""
        if self._logs is None:
            return
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second

            self._board = SummaryWriter(str(self._logs), purge_step=step)
        self._board.add_scalar(name, value, step)

    def _average(self, newest: nn.Module) -> None:
        """The mean of the newest policies moves less with the luck of a batch than any of them."""
        newest = on_cpu(newest)
        if self._mean is None:
            self._mean = copy.deepcopy(newest)
            return
        keep = self._recipe.settings.averaging
        with torch.no_grad():
            for mean, new in zip(self._mean.parameters(), newest.parameters(), strict=True):
                mean.mul_(keep).add_(new, alpha=1.0 - keep)

    def _check(self, step: int) -> float:
        actor = self._mean
        assert actor is not None
        ratio = validate(self._validation, actor, self._recipe.objective)
        if self.best is None or ratio < self.best.ratio:
            self.best = Best(ratio, step, copy.deepcopy(actor).eval())
        return ratio


def filled(blank: Callable[[], nn.Module], weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """A module of that kind with these weights, on the CPU."""
    module = copy.deepcopy(on_cpu(blank()))
    module.load_state_dict(weights)
    return module


def judged_by(objective: Objective) -> str:
    """What `validate` gives, for people."""
    return "mean latency / base" if objective == DEFAULT else "exp(-reward) by the objective"


def validate(episodes: Episodes, actor: nn.Module, objective: Objective = DEFAULT) -> float:
    """How good a policy is on always the same cases; the base is at 1, and below is better.

    Mean latency over the base's, geometric mean, where the objective is the default one; of any
    other exp(-mean reward): rewards are logarithms or ratios, beside the base.
    """
    episodes.seed(VALIDATION_SEED)
    reward = played(episodes, actor)
    if objective == DEFAULT:
        return float(np.exp(np.mean(np.log(episodes.ratios()))))
    return float(np.exp(-reward))


def played(episodes: Episodes, actor: nn.Module) -> float:
    """Play an episode in all slots by a policy, without exploring; the mean reward of a tick."""
    table, ended, rewards = episodes.reset(), False, list[float]()
    while not ended:
        with torch.no_grad():
            actions = actor(torch.from_numpy(table)).numpy()
        table, reward, ended = episodes.step(actions)
        rewards.append(float(np.mean(reward)))
    return float(np.mean(rewards))
