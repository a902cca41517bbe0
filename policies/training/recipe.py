"""A recipe says all that a training run depends on: the same recipe gives the same policy."""

# ruff: noqa: ANN401 - YAML gives anything
from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from controlplane.errors import ConfigurationError
from policies.env.draw import Draw
from policies.simulator import FAMILIES

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class Ppo:
    """Hyperparameters; docs/learning.md gives the reason of each."""

    slots: int = 32
    copies: int = 2
    discount: float = 0.9
    gae_lambda: float = 0.9
    learning_rate: float = 5e-4
    epochs: int = 6
    batch: int = 312
    clip: float = 0.2
    target_kl: float = 0.03
    entropy: float = 0.0
    deviation: float = 0.4
    width: int = 48
    layers: int = 2
    averaging: float = 0.85
    """How much of the average of the policies so far stays when a rollout adds one."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train, on what, for how long."""

    name: str
    steps: int
    seed: int = 1
    algorithm: str = "ppo"
    base: str = "model"
    scenarios: Draw = field(default_factory=Draw)
    ppo: Ppo = field(default_factory=Ppo)
    check_every: int = 8
    """Rollouts between two checks on the validation cases; the best policy of all is kept."""
    check_cases: int = 48

    def __post_init__(self) -> None:
        if self.algorithm != "ppo":
            raise ValueError(f"algorithm {self.algorithm!r}: there is only ppo")
        if self.base != "model":
            raise ValueError(f"base {self.base!r}: the residual is on model")
        unknown = set(self.scenarios.families) - set(FAMILIES)
        if unknown:
            raise ValueError(f"no families {', '.join(sorted(unknown))}")
        if (self.ppo.slots * self.rollout) % self.ppo.batch:
            raise ValueError(f"batch: wanted a divisor of {self.ppo.slots * self.rollout}")

    @property
    def rollout(self) -> int:
        """Steps of an episode, which is also the length of a rollout."""
        return int(self.scenarios.duration_s) - 1


def load(path: Path) -> Recipe:
    """The recipe in a YAML file."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: wanted a mapping")
    try:
        parts: dict[str, Any] = dict(document)
        if "scenarios" in parts:
            parts["scenarios"] = _made(Draw, parts["scenarios"])
        if "ppo" in parts:
            parts["ppo"] = _made(Ppo, parts["ppo"])
        recipe: Recipe = _made(Recipe, parts)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return recipe


def _made(kind: Any, document: Any) -> Any:
    if not isinstance(document, dict):
        raise ValueError(f"wanted a mapping for {kind.__name__.lower()}, got {document!r}")
    known = {one.name for one in fields(kind)}
    unknown = set(document) - known
    if unknown:
        raise ValueError(
            f"no field {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in document.items()})
