"""A training run: a recipe in, the best policy that it met and its learning curve out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from policies.agents.registry import algorithm
from policies.training.recipe import Recipe
from policies.training.watch import VALIDATION_SEED, Point, Progress, Watch


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run."""

    recipe: Recipe
    actor: nn.Module
    step: int
    ratio: float
    curve: list[Point] = field(default_factory=list)


def train(
    recipe: Recipe,
    *,
    logs: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Run the recipe. Deterministic: one thread, one seed."""
    world = recipe.world
    learner = algorithm(recipe.algorithm).learner(recipe.settings, world, recipe.seed)
    if logs is not None:
        learner.log_to(logs)
    validation = recipe.checks.episodes(recipe.check_cases, VALIDATION_SEED)
    watch = Watch(recipe, validation, progress, logs)
    learner.learn(recipe.steps, watch.rolled)
    best = watch.ended(learner.actor())
    return Trained(recipe, best.actor, best.step, best.ratio, watch.curve)
