"""What is seen of a run: its learning curve, and the best policy that it met."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from policies.env.episodes import Episodes
from policies.training.recipe import Recipe

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
    ) -> None:
        self._recipe, self._validation = recipe, validation
        self._progress, self._logs = progress, logs
        self._board = _board(logs)
        self._rollouts = 0
        self._mean: nn.Module | None = None
        self.curve: list[Point] = []
        self.best: Best | None = None

    def rolled(self, step: int, actor: nn.Module | None, reward: float) -> None:
        """A rollout was played by this policy; None: by one that needs its memory."""
        ratio = None
        if actor is not None:
            self._average(actor)
            if self._rollouts % self._recipe.check_every == 0:
                ratio = self._check(step)
        self._rollouts += 1
        self._add(Point(step, reward, ratio))
        if self._progress is not None:
            best = f"best {self.best.ratio:.3f} of the base" if self.best else ""
            self._progress(step, f"return {reward:+.2f} {best}")

    def ended(self, actor: nn.Module) -> Best:
        """The best of all that was checked, the last policy included."""
        last = self.curve[-1] if self.curve else Point(0, 0.0)
        self._average(actor)
        self._add(Point(last.step, last.reward, self._check(last.step)))
        assert self.best is not None
        if self._board is not None:
            self._board.close()
        if self._logs is not None:
            curve = [asdict(point) for point in self.curve]
            (self._logs / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")
        return self.best

    def _add(self, point: Point) -> None:
        self.curve.append(point)
        if self._board is not None:
            self._board.add_scalar("training/return", point.reward, point.step)
            if point.ratio is not None:
                self._board.add_scalar("validation/mean_latency_ratio", point.ratio, point.step)

    def _average(self, newest: nn.Module) -> None:
        """The mean of the newest policies moves less with the luck of a batch than any of them."""
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
        ratio = validate(self._validation, actor)
        if self.best is None or ratio < self.best.ratio:
            self.best = Best(ratio, step, copy.deepcopy(actor).eval())
            if self._logs is not None:  # a run that is broken off leaves its best
                torch.save(self.best.actor.state_dict(), self._logs / "best.pt")
        return ratio


def validate(episodes: Episodes, actor: nn.Module) -> float:
    """Mean latency over the base's, geometric mean over always the same cases."""
    episodes.seed(VALIDATION_SEED)
    played(episodes, actor)
    return float(np.exp(np.mean(np.log(episodes.ratios()))))


def played(episodes: Episodes, actor: nn.Module) -> None:
    """Play an episode in all slots by a policy, without exploring."""
    table, ended = episodes.reset(), False
    while not ended:
        with torch.no_grad():
            actions = actor(torch.from_numpy(table)).numpy()
        table, _, ended = episodes.step(actions)


def _board(logs: Path | None):  # type: ignore[no-untyped-def]  # noqa: ANN202 - torch has no types
    if logs is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # takes a second

    return SummaryWriter(str(logs))
