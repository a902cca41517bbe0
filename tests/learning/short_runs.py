"""Runs of every algorithm that take a second, for tests, and as a process that can be killed.

python -m tests.learning.short_runs FOLDER ALGORITHM ...
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from policies.agents.settings import Offline, OffPolicy, Ppo, RecurrentPpo, TeamPpo
from policies.training.recipe import Recipe
from policies.training.toy import LESSONS


def short(name: str) -> Recipe:
    """A few small rollouts in which everything of the algorithm happens; buffers overflow."""
    lesson = LESSONS[name]
    settings: Any = lesson.settings
    few = 12 if isinstance(settings, TeamPpo) else 16
    settings = replace(settings, slots=few, width=12, layers=1)
    rollout = few * lesson.world.steps
    match settings:
        case Ppo():
            settings = replace(settings, epochs=2, batch=rollout // 2)
        case OffPolicy():
            settings = replace(settings, warmup=rollout, buffer=3 * rollout, batch=32, updates=1)
        case Offline():
            settings = replace(settings, updates=20)
        case _:
            pass
    if isinstance(settings, RecurrentPpo):
        settings = replace(settings, lessons=5)
    lesson = replace(lesson, settings=settings)
    rollouts = {"hierarchy": 12, "maml": 8 * 6, "reptile": 4 * 6}.get(name, 6)
    return replace(lesson.recipe(name, steps=rollouts * rollout), check_every=2, check_cases=12)


def main(folder: Path, names: list[str]) -> None:
    """Train one after the other, going on where a process before this one was stopped."""
    from policies.training.train import train

    for name in names:
        (folder / name).mkdir(exist_ok=True)

        def told(step: int, note: str, name: str = name) -> None:
            print(name, step, note, flush=True)

        train(short(name), logs=folder / name, progress=told, resume=True, checkpoint_s=0.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
