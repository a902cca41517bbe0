"""A curriculum: what is drawn changes while learning goes on, from easy to all.

Y. Bengio, J. Louradour, R. Collobert, J. Weston, "Curriculum learning", ICML 2009. Here a stage is
another `Draw`: fewer families, or loads at which a mistake costs little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policies.env.draw import Draw, Drawn
from policies.env.episodes import Seeded


@dataclass(frozen=True, slots=True)
class Stage:
    """What is drawn early on."""

    until: int
    """Steps, summed over all slots: an episode that begins at or after them is not of it."""
    draw: Draw


def draw_at(step: int, stages: Sequence[Stage], last: Draw) -> Draw:
    """What episodes that begin after so many steps are drawn by; `last` after all stages."""
    return next((stage.draw for stage in stages if step < stage.until), last)


class Dealer(Seeded):
    """Draws the cases of one episode after the other."""

    def __init__(
        self, draw: Draw, seed: int, *, copies: int = 1, stages: Sequence[Stage] = ()
    ) -> None:
        """So many `copies` of each case are played; `stages`: what is drawn before `draw`."""
        super().__init__(seed)
        self._draw, self._stages = draw, tuple(stages)
        self._copies = copies
        self._steps = 0
        """Of all slots, in the episodes that were dealt."""

    def seed(self, seed: int) -> None:
        """Draw from here on as if new."""
        super().seed(seed)
        self._steps = 0

    def state(self) -> Any:  # noqa: ANN401 - of the generator
        """All that the next cases are drawn by."""
        return {"chance": super().state(), "steps": self._steps}

    def restore(self, state: Any) -> None:  # noqa: ANN401
        """As it was."""
        super().restore(state["chance"])
        self._steps = state["steps"]

    def deal(self, count: int) -> list[Drawn]:
        """The cases of the next."""
        draw = draw_at(self._steps, self._stages, self._draw)
        self._steps += count * self._copies * self._draw.steps
        return [draw.case(self.random) for _ in range(count)]
