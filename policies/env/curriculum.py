"""A curriculum: what is drawn changes while learning goes on, from easy to all.

Y. Bengio, J. Louradour, R. Collobert, J. Weston, "Curriculum learning", ICML 2009. Here a stage is
another `Draw`: fewer families, or loads at which a mistake costs little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.env.draw import Draw


@dataclass(frozen=True, slots=True)
class Stage:
    """What is drawn early on."""

    until: int
    """Steps, summed over all slots: an episode that begins at or after them is not of it."""
    draw: Draw


def draw_at(step: int, stages: Sequence[Stage], last: Draw) -> Draw:
    """What episodes that begin after so many steps are drawn by; `last` after all stages."""
    return next((stage.draw for stage in stages if step < stage.until), last)
