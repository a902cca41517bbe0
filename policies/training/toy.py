"""Each algorithm's lesson on a toy whose optimum is known: what CI holds, what its page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from policies.agents import settings as of
from policies.env.episodes import World
from policies.env.machines import SharedMachines
from policies.env.routing import Routing
from policies.env.strategy import FewOrMany
from policies.training.recipe import Recipe

TWO_OR_THREE = Routing(servers=(2, 3))
SHOWN_ONCE = replace(TWO_OR_THREE, hidden=True)
TOGETHER = SharedMachines.per_service(3, shared=True)
APART = SharedMachines.per_service(3, shared=False)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What to learn, how, for how long, and how far it has to get."""

    settings: of.Settings
    steps: int
    least: float
    """Of the way from the base to the optimum."""
    world: World = TWO_OR_THREE

    def recipe(self, algorithm: str, seed: int = 1, *, steps: int | None = None) -> Recipe:
        """The same as a recipe."""
        return Recipe(
            name=f"toy-{algorithm}",
            steps=self.steps if steps is None else steps,
            seed=seed,
            algorithm=algorithm,
            settings=self.settings,
            check_every=10,
            check_cases=63,
            toy=self.world,
        )


# What an action does is over within its step, so nothing is discounted but where moves add up.
_ON: dict[str, Any] = {"slots": 64, "copies": 8, "width": 32, "layers": 1, "discount": 0.0}
_OFF: dict[str, Any] = {
    "slots": 16,
    "warmup": 800,
    "updates": 2,
    "width": 24,
    "discount": 0.0,
    "learning_rate": 2e-3,
}
_TEAM: dict[str, Any] = {
    "slots": 48,
    "agents": 3,
    "batch": 240,
    "epochs": 8,
    "learning_rate": 4e-3,
    "target_kl": 0.1,
    "deviation": 0.25,
    "discount": 0.0,
}

LESSONS: Mapping[str, Lesson] = {
    "ppo": Lesson(
        of.Ppo(
            **_ON,
            batch=320,
            epochs=10,
            target_kl=0.05,
            centred=True,
            learning_rate=5e-3,
            deviation=0.2,
        ),
        steps=9_600,
        least=0.93,
    ),
    "a2c": Lesson(
        of.A2c(**_ON, every=1, learning_rate=3e-3, deviation=0.3), steps=16_000, least=0.93
    ),
    "recurrent-ppo": Lesson(
        of.RecurrentPpo(
            **{**_ON, "width": 16},
            batch=640,
            epochs=10,
            learning_rate=3e-3,
            target_kl=0.1,
            deviation=0.3,
            memory=16,
        ),
        steps=16_000,
        least=0.4,
        world=SHOWN_ONCE,
    ),
    "shared-ppo": Lesson(of.TeamPpo(**_TEAM), steps=7_200, least=0.85, world=TOGETHER),
    "central-ppo": Lesson(of.CentralPpo(**_TEAM), steps=7_200, least=0.85, world=TOGETHER),
    "independent-ppo": Lesson(
        of.IndependentPpo(**_TEAM, together=False), steps=7_200, least=0.5, world=APART
    ),
    "sac": Lesson(of.Sac(**{**_OFF, "learning_rate": 4e-3}), steps=4_800, least=0.85),
    "tqc": Lesson(of.Tqc(**_OFF, quantiles=8, dropped=1), steps=5_600, least=0.85),
    "td3": Lesson(of.Td3(**{**_OFF, "learning_rate": 4e-3}), steps=5_600, least=0.85),
    # Moves of a quarter end beside the optimum, and a table of a few steps knows little of speeds.
    "dqn": Lesson(
        of.Dqn(
            slots=32,
            warmup=640,
            updates=2,
            batch=512,
            width=24,
            layers=1,
            learning_rate=3e-3,
            discount=0.8,
        ),
        steps=8_000,
        least=0.7,
    ),
    "maml": Lesson(
        of.Maml(slots=32, width=32, layers=1, discount=0.0, learning_rate=5e-3),
        steps=60_000,
        least=0.6,
    ),
    "reptile": Lesson(
        of.Reptile(slots=32, width=32, layers=1, discount=0.0), steps=40_000, least=0.5
    ),
    "offline": Lesson(
        of.Offline(
            slots=64,
            width=24,
            discount=0.0,
            deviation=0.2,
            updates=600,
            learning_rate=4e-3,
            caution=0.05,
        ),
        steps=12_800,
        least=0.8,
    ),
    "hierarchy": Lesson(
        of.Hierarchy(
            slots=16,
            warmup=320,
            updates=1,
            batch=128,
            width=16,
            layers=1,
            learning_rate=4e-3,
            discount=0.8,
            exploring=0.5,
            explored=0.1,
            low_part=0.0,
            switch_cost=1.0,
            tau=0.05,
        ),
        steps=9_600,
        least=0.95,
        world=FewOrMany(),
    ),
    "q-learning": Lesson(of.QLearning(slots=64, discount=0.5), steps=40_000, least=0.65),
}
