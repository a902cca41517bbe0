"""The simulator as a world to learn in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from controlplane.model.objective import Objective
from policies.env.curriculum import Stage
from policies.env.draw import Draw
from policies.env.episodes import Episodes
from policies.env.paired import Paired


@dataclass(frozen=True, slots=True)
class Simulated:
    """Services that are drawn, each beside its base on the same requests."""

    draw: Draw = field(default_factory=Draw)
    objective: Objective = field(default_factory=Objective)
    discount: float = 1.0
    """The learner's."""
    stages: tuple[Stage, ...] = ()
    """What is drawn before, in this order; each of episodes as long as those of `draw`."""

    @property
    def steps(self) -> int:
        """Of an episode."""
        return self.draw.steps

    def episodes(self, slots: int, seed: int, copies: int = 1) -> Episodes:
        """New ones."""
        return Paired(
            self.draw,
            slots,
            seed,
            copies,
            objective=self.objective,
            discount=self.discount,
            stages=self.stages,
        )

    def tasks(self) -> Sequence[Simulated]:
        """A family each."""
        return [replace(self, draw=draw, stages=()) for draw in self.draw.by_family()]
