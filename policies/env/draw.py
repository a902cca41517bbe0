"""Which cases an environment plays: drawn at random, so that a policy learns no single one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from policies.simulator import (
    HELD_OUT_SEEDS,
    TRAINING_ENDPOINTS,
    TRAINING_FAMILIES,
    Case,
    Size,
    scenario,
)

Drawn = tuple[Case, int]
"""A case, and the seed of its requests."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Ranges to draw from."""

    families: Mapping[str, float] = field(
        default_factory=lambda: dict.fromkeys(TRAINING_FAMILIES, 1.0)
    )
    """Families, and how often each is drawn relative to the others."""
    endpoints: tuple[int, ...] = TRAINING_ENDPOINTS
    proxies: tuple[int, ...] = (2, 4, 8, 12, 16, 32, 64)
    load: tuple[float, float] = (0.45, 0.95)
    orca: float = 0.3
    """Part of the cases in which endpoints say how busy they are."""
    sampling: tuple[float, ...] = (1.0, 1.0, 0.5, 0.2)
    """Parts of the requests that access logs show."""
    delay_s: tuple[float, float] = (0.1, 0.5)
    duration_s: float = 40.0
    seeds: tuple[int, int] = (0, HELD_OUT_SEEDS)
    """From, and up to but without."""
    prices: tuple[float, ...] = ()
    """Of a worker's busy second, one of them for each endpoint by chance; empty: 1 for all."""

    def __post_init__(self) -> None:
        self.check_families()
        for name in ("endpoints", "proxies"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{name}: wanted numbers of at least 1, got {sizes}")
        if not 0.0 < self.load[0] <= self.load[1] <= 1.0:
            raise ValueError(f"load: wanted a range in 0 to 1, from low to high, got {self.load}")
        if not 0.0 <= self.delay_s[0] <= self.delay_s[1] < 1.0:
            raise ValueError(f"delay_s: wanted a range below a second, got {self.delay_s}")
        if not self.sampling or not all(0.0 < one <= 1.0 for one in self.sampling):
            raise ValueError(f"sampling: wanted parts above 0, at most 1, got {self.sampling}")
        if not 0 <= self.seeds[0] < self.seeds[1]:
            raise ValueError(f"seeds: wanted from, and up to but without, got {self.seeds}")
        if not 2.0 <= self.duration_s < np.inf:
            raise ValueError(f"duration_s: wanted at least 2, got {self.duration_s}")

    def check_families(self) -> None:
        """ValueError where there is nothing to draw."""
        odds = np.array([*self.families.values()], np.float64)
        if not (odds >= 0.0).all() or not 0.0 < odds.sum() < np.inf:
            raise ValueError("families: wanted how often each is drawn, 0 or more, not all 0")

    @property
    def steps(self) -> int:
        """Of an episode. A step is a tick of a second; the first tick is the first look."""
        return int(self.duration_s) - 1

    def by_family(self) -> list[Draw]:
        """The same with one family each."""
        return [replace(self, families={name: 1.0}) for name in self.families]

    def case(self, random: np.random.Generator) -> Drawn:
        """A case and the seed of its requests."""
        names = list(self.families)
        odds = np.array([self.families[name] for name in names])
        family = names[int(random.choice(len(names), p=odds / odds.sum()))]
        seed = int(random.integers(*self.seeds))
        size = Size(
            endpoints=int(random.choice(self.endpoints)),
            proxies=int(random.choice(self.proxies)),
            load=float(random.uniform(*self.load)),
            duration_s=self.duration_s,
        )
        return self.seen(scenario(family, seed=seed, size=size), random), seed

    def seen(self, case: Case, random: np.random.Generator) -> Case:
        """The case with telemetry and prices that are drawn."""
        case = replace(
            case,
            orca=bool(random.random() < self.orca),
            sampling=float(random.choice(self.sampling)),
            delay_s=float(random.uniform(*self.delay_s)),
        )
        if not self.prices:
            return case
        drawn = random.choice(self.prices, len(case.stations)).tolist()
        stations = [replace(s, price=p) for s, p in zip(case.stations, drawn, strict=True)]
        return replace(case, stations=tuple(stations))
