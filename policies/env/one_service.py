"""One service again and again, always with new requests: what a policy is adapted to, and tried on.

The case is drawn once, with its machines, its law of work and its telemetry; what changes from
episode to episode is the seed of the requests. So some episodes are minutes to learn from, and
others further minutes of the same service.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from policies.env.draw import Draw
from policies.simulator import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class OneService(Draw):
    """Episodes of this case. `seeds` are those of its requests."""

    service: Case

    def __post_init__(self) -> None:
        if self.service.duration_s != self.duration_s:
            raise ValueError(f"episodes of {self.duration_s} s of a case that does not last so")

    def case(self, random: np.random.Generator) -> tuple[Case, int]:
        """The case, with requests of its own."""
        return self.service, int(random.integers(*self.seeds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Staying(Draw):
    """Services that stay for some draws each: learned from in one, and judged in the next."""

    draws: int = 2
    _now: list[Case] = field(default_factory=list)
    """The service that stays, as often as it is still to be drawn."""

    def case(self, random: np.random.Generator) -> tuple[Case, int]:
        """The service of now with requests of its own, or a new one."""
        if not self._now:
            case, _ = Draw.case(self, random)
            self._now.extend([case] * self.draws)
        return self._now.pop(), int(random.integers(*self.seeds))
