"""Services that were fitted to recorded metrics, drawn beside families or alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from policies.env.draw import Draw, Drawn
from policies.simulator.fitted import Fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedDraw(Draw):
    """A stretch of one of these services with requests of its own, or a case of a family.

    Endpoints, Envoys and loads of a service are as they were fitted; the sizes and loads that are
    drawn are those of the families. Telemetry and prices are drawn for all.
    """

    fitted: tuple[Fitted, ...]

    def __post_init__(self) -> None:
        if not self.fitted:
            raise ValueError("fitted: wanted a scenario or more")
        names = [one.name for one in self.fitted]
        if len(set(names)) < len(names):
            raise ValueError(f"fitted: two are called the same: {', '.join(names)}")
        Draw.__post_init__(self)
        for one in self.fitted:
            one.begins_s(self.duration_s)

    def check_families(self) -> None:
        """There need not be any."""
        if self.families:
            Draw.check_families(self)

    def by_family(self) -> list[Draw]:
        """The same with one family, or one service, each."""
        plain = Draw(**{name: getattr(self, name) for name in Draw.__dataclass_fields__})
        services: list[Draw] = [replace(self, families={}, fitted=(one,)) for one in self.fitted]
        return [*(plain.by_family() if self.families else ()), *services]

    def case(self, random: np.random.Generator) -> Drawn:
        """A case and the seed of its requests."""
        odds = np.array([sum(self.families.values()), *(one.odds for one in self.fitted)])
        which = int(random.choice(len(odds), p=odds / odds.sum()))
        if which == 0:
            return Draw.case(self, random)
        one = self.fitted[which - 1]
        seed = int(random.integers(*self.seeds))
        begins_s = float(random.choice(one.begins_s(self.duration_s)))
        return self.seen(one.stretch(begins_s, self.duration_s), random), seed
