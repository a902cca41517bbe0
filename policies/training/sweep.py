"""A search over fields of a recipe: which settings train best, by the validation cases.

All settings are trained with the same seeds and judged on the cases of the recipe as it is, so they
can be compared even where the search is over what is trained on. The best of many is better than it
looks on the cases that it was chosen by: what it is worth, the league says.
"""

# ruff: noqa: ANN401 - values are of any kind
from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from policies.training.places import Place
from policies.training.recipe import Recipe
from policies.training.runs import Progress, trained
from policies.training.train import CHECKPOINT_S, Trained, key
from policies.training.watch import VALIDATION_SEED, validate

RESULT = "sweep.json"
_FIXED = ("name", "seed", "seeds", "algorithm", "settings", "start", "toy", "check_cases")
"""Fields that say who learns, by whom it is told apart, and by what it is judged."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, drawn evenly, or (`log`) evenly on the logarithmic scale."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0.0):
            raise ValueError(f"{self.low}..{self.high}: wanted a range, above 0 if it is :log")

    def draw(self, random: np.random.Generator) -> float | int:
        """One of them; whole numbers from whole numbers."""
        if self.log:
            return float(math.exp(random.uniform(math.log(self.low), math.log(self.high))))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return int(random.integers(self.low, self.high + 1))
        return float(random.uniform(self.low, self.high))


Over = Mapping[str, Sequence[Any] | Range]
"""What is searched: fields by their names in YAML (`ppo.discount`), and their values."""


def over(texts: Sequence[str]) -> Over:
    """From `FIELD=VALUE,VALUE` or `FIELD=LOW..HIGH`, with `:log` behind it or not."""
    found: dict[str, Sequence[Any] | Range] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ValueError(f"{text!r}: wanted FIELD=VALUE,VALUE or FIELD=LOW..HIGH[:log]")
        if name in found:
            raise ValueError(f"{name} is there twice")
        low, dots, high = values.partition("..")
        if dots:
            high, _, scale = high.partition(":")
            if scale not in ("", "log"):
                raise ValueError(f"{text!r}: no scale {scale!r}, but log")
            found[name] = Range(_number(low), _number(high), scale == "log")
        else:
            found[name] = [_value(value) for value in values.split(",")]
    return found


def _value(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 takes 1e-4 for text
        except ValueError:
            return value
    return value


def _number(text: str) -> Any:
    value = _value(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{text!r} is no number")
    return value


def settings(over: Over, draws: int | None = None, seed: int = 1) -> list[dict[str, Any]]:
    """All combinations; or so many drawn by chance, each field by itself, none twice."""
    if draws is None:
        ranges = [name for name, values in over.items() if isinstance(values, Range)]
        if ranges:
            raise ValueError(f"{', '.join(ranges)}: of a range values are drawn; say how many")
        lists = [list(values) for values in over.values() if not isinstance(values, Range)]
        return [dict(zip(over, values, strict=True)) for values in itertools.product(*lists)]
    if draws < 1:
        raise ValueError(f"wanted at least one setting, got {draws}")
    random, found = np.random.default_rng(seed), list[dict[str, Any]]()
    for _ in range(20 * draws):  # few fields of few values have no more
        one = {
            name: values.draw(random)
            if isinstance(values, Range)
            else values[int(random.integers(len(values)))]
            for name, values in over.items()
        }
        if one not in found:
            found.append(one)
        if len(found) == draws:
            break
    return found


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values; ValueError says what is not there or does not fit."""
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if head in _FIXED:
            raise ValueError(f"{name} is no field to search over")
        path = [("settings" if head == recipe.algorithm else head), *rest.split(".")]
        recipe = _replaced(recipe, [part for part in path if part], value, name)
    return recipe


def _replaced(whole: Any, path: Sequence[str], value: Any, name: str) -> Any:
    known = [one.name for one in fields(whole)] if is_dataclass(whole) else list(whole or ())
    if path[0] not in known:
        raise ValueError(f"no field {name}; where it would be there are {', '.join(known)}")
    before = getattr(whole, path[0]) if is_dataclass(whole) else whole[path[0]]
    if len(path) > 1:
        value = _replaced(before, path[1:], value, name)
    elif isinstance(before, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    elif before is not None and type(value) is not type(before):
        raise ValueError(f"{name}: wanted {type(before).__name__}, got {value!r}")
    if is_dataclass(whole) and not isinstance(whole, type):
        return replace(whole, **{path[0]: value})
    return {**whole, path[0]: value}


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting, and what came of it for each seed."""

    values: Mapping[str, Any]
    ratios: Mapping[int, float]
    """By seed, of the best policy of the run: see `validate`."""
    steps: Mapping[int, int]
    """By seed: when that policy was met."""

    @property
    def mean(self) -> float:
        """Geometric, over seeds."""
        return float(np.exp(np.mean(np.log(list(self.ratios.values())))))


def sweep(
    recipe: Recipe,
    over: Over,
    folder: Path,
    place: Place,
    *,
    seeds: Sequence[int] = (1,),
    draws: int | None = None,
    chance: int = 1,
    progress: Progress | None = None,
    checkpoint_s: float = CHECKPOINT_S,
) -> list[Tried]:
    """Train every setting with every seed, the best first; results in `folder` as JSON.

    The same call goes on where it was stopped: a run that has ended is not run again, one that had
    begun goes on from its checkpoint. `draws` settings are drawn with the seed `chance`.
    """
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: one is there twice: {', '.join(map(str, seeds))}")
    tried = settings(over, draws, chance)
    recipes = [
        replace(changed(recipe, values), seed=seed, seeds=()) for values in tried for seed in seeds
    ]
    runs = [(one, folder / "runs" / f"{key(one)}-seed-{one.seed}") for one in recipes]
    ended = trained(runs, place, resume=True, progress=progress, checkpoint_s=checkpoint_s)
    by_setting = [ended[i : i + len(seeds)] for i in range(0, len(ended), len(seeds))]
    results = sorted(
        (
            Tried(
                values,
                {run.recipe.seed: _judged(run, recipe) for run in of_it},
                {run.recipe.seed: run.step for run in of_it},
            )
            for values, of_it in zip(tried, by_setting, strict=True)
        ),
        key=lambda one: one.mean,
    )
    document = {
        "recipe": recipe.document(),
        "seeds": list(seeds),
        "tried": [
            {"values": one.values, "mean": one.mean, "ratios": one.ratios, "steps": one.steps}
            for one in results
        ],
    }
    (folder / RESULT).write_text(json.dumps(document, indent=1) + "\n")
    return results


def _judged(run: Trained, recipe: Recipe) -> float:
    """By the cases of the recipe as it is, which were the run's, too, if the draw is the same."""
    its = run.recipe
    if (its.scenarios, its.objective) == (recipe.scenarios, recipe.objective):
        return run.ratio
    episodes = recipe.checks.episodes(recipe.check_cases, VALIDATION_SEED)
    return validate(episodes, run.actor, recipe.objective)
