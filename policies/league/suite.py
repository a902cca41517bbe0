"""The held-out suite: every family of cases at every load and size, with seeds kept for this.

A factorial design, so that each row of a table stands on the same cases in every column. What a
seed draws (the law of the work, who is hit and when, how much telemetry shows) is a *service*; it
is played at all loads, so cases of one service are alike and are resampled together
(`intervals`). No two families or sizes share a service.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from policies.simulator import (
    FAMILIES,
    HELD_OUT_ENDPOINTS,
    HELD_OUT_FAMILIES,
    HELD_OUT_SEEDS,
    Case,
    Size,
    Steps,
    scenario,
)

RELEASE_SEEDS = HELD_OUT_SEEDS
"""From here on: the evaluation that a release carries, by which releases are chosen."""
LEAGUE_SEEDS = 2 * HELD_OUT_SEEDS
"""From here on: the league, by which nothing is chosen."""
LOADS = (0.5, 0.7, 0.85, 0.95)
SIZES = ((6, 2), (8, 4), (10, 16), (16, 32), (24, 64))
"""(endpoints, proxies). Families of many proxies have theirs instead."""
DURATION_S = 40.0
SKIPPED_S = 10.0
"""Not counted: all begin with equal shares and nothing known, and CSWRR waits so long."""
SPREAD = 1_000
"""Seeds of one size; the next size has the next ones."""
_WINDOW_S, _STEP_S = 1.0, 0.05


@dataclass(frozen=True, slots=True)
class Fixture:
    """One case of the suite."""

    family: str
    load: float
    endpoints: int
    proxies: int
    seed: int

    @property
    def key(self) -> str:
        """Its name."""
        return f"{self.service}/{self.load:g}"

    @property
    def service(self) -> str:
        """What it shares with the same service at other loads: the unit of resampling."""
        return f"{self.family}/{self.endpoints}x{self.proxies}/{self.seed}"

    @property
    def held_out(self) -> str:
        """What training had not seen, besides the seed: `families`, `sizes` or (only) `seeds`."""
        if self.family in HELD_OUT_FAMILIES:
            return "families"
        return "sizes" if self.endpoints in HELD_OUT_ENDPOINTS else "seeds"

    def case(self) -> Case:
        """The case. Telemetry is at most as good as the family's own."""
        size = Size(self.endpoints, self.proxies, self.load, DURATION_S)
        case = scenario(self.family, seed=self.seed, size=size)
        seen = np.random.default_rng([self.seed, zlib.crc32(self.family.encode()), 1])
        return replace(
            case,
            orca=bool(self.seed % 2),
            sampling=min(case.sampling, float(seen.choice((1.0, 1.0, 0.5, 0.2)))),
            delay_s=max(case.delay_s, float(seen.uniform(0.1, 0.5))),
        )


@dataclass(frozen=True, slots=True)
class Suite:
    """All fixtures of these families, loads, sizes and seeds."""

    families: tuple[str, ...] = tuple(FAMILIES)
    loads: tuple[float, ...] = LOADS
    sizes: tuple[tuple[int, int], ...] = SIZES
    seeds: int = 12
    """Of each family and size."""
    first_seed: int = LEAGUE_SEEDS

    def __post_init__(self) -> None:
        strange = sorted(set(self.families) - set(FAMILIES))
        if strange:
            raise ValueError(f"no family {', '.join(strange)}; there are {', '.join(FAMILIES)}")
        if len(set(self.families)) < len(self.families) or not self.families:
            raise ValueError(f"wanted some families, each once, got {', '.join(self.families)}")
        if not 1 <= self.seeds <= SPREAD:
            raise ValueError(f"wanted 1 to {SPREAD} seeds, got {self.seeds}")
        if self.first_seed < HELD_OUT_SEEDS:
            raise ValueError(f"seeds below {HELD_OUT_SEEDS} are for training")
        if any(not 0.0 < load < 1.0 for load in self.loads):
            raise ValueError("a load is a part of the capacity, between 0 and 1")

    @classmethod
    def quick(cls, families: Sequence[str] = tuple(FAMILIES)) -> Suite:
        """A look in two minutes; its intervals are wide."""
        return cls(tuple(families), (0.7, 0.85), ((8, 4), (10, 16)), 2)

    def rounds(self) -> Iterator[tuple[Fixture, ...]]:
        """Fixtures that are played side by side: those of a family and a size."""
        for family in self.families:
            for endpoints, proxies in self.sizes:
                first = self.first_seed + SPREAD * endpoints
                yield tuple(
                    Fixture(family, load, endpoints, proxies, first + i)
                    for i in range(self.seeds)
                    for load in self.loads
                )

    def __len__(self) -> int:
        return len(self.families) * len(self.loads) * len(self.sizes) * self.seeds


def peak_load(case: Case) -> float:
    """The largest part of the capacity that a second of the run asks for.

    By the schedule: bursts and phases, whose times are drawn, count at their peak. Above 1 every
    policy has a queue that no split can take away for a while.
    """
    at = np.arange(0.0, case.duration_s, _STEP_S)

    def over_time(steps: Steps) -> NDArray[np.float64]:
        return np.array(steps.value)[np.searchsorted(steps.from_s, at, side="right") - 1]

    traffic = case.traffic
    peak = traffic.burst * max(traffic.mmpp.rates if traffic.mmpp else (1.0,))
    offered = over_time(traffic.rate_rps) * peak * case.mean_work_s
    capacity = np.zeros(len(at))
    for one in case.stations:
        capacity += one.workers * over_time(one.speed) * (at >= one.joins_s)
    window = np.ones(round(_WINDOW_S / _STEP_S))
    asked, there = (np.convolve(one, window, "valid") for one in (offered, capacity))
    return float((asked / there).max())
