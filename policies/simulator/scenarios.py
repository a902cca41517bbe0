"""Families of cases, from a service where nothing happens to one where much goes wrong.

A family, a seed, a size and a load give one case, always the same. What a seed draws are the
details: which endpoint is hit, when and how hard, the law and the mean of the work.

Training may use `TRAINING_FAMILIES`, `TRAINING_ENDPOINTS` and seeds below `HELD_OUT_SEEDS`; what
is reported as held out uses seeds from there on, the other sizes, or the families kept back.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from policies.simulator.case import Balancing, Case, Station
from policies.simulator.demand import Law, Traffic, Work
from policies.simulator.families import FAMILIES, Random
from policies.simulator.steps import Steps

HELD_OUT_SEEDS = 1_000_000
HELD_OUT_FAMILIES = (
    "generations",
    "gc_pauses",
    "degradation",
    "mixed_costs",
    "mixed_classes",
    "sparse_50",
    "sparse_128",
    "cold_caches",
    "shared_workers",
    "diurnal",
    "phases",
    "lossy_telemetry",
    "two_regions",
    "three_regions",
    "slow_region",
)
TRAINING_ENDPOINTS = (4, 8, 12, 16)
HELD_OUT_ENDPOINTS = (6, 10, 24, 32)
TRAINING_FAMILIES = tuple(name for name in FAMILIES if name not in HELD_OUT_FAMILIES)
HIGHEST_LOAD = 0.97
"""An event that takes capacity away never leaves more than this part of the rest in use."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a case is."""

    endpoints: int = 8
    proxies: int = 4
    load: float = 0.7
    """Part of the capacity of the start that the traffic needs."""
    duration_s: float = 40.0


def scenario(
    family: str,
    *,
    seed: int,
    size: Size | None = None,
    work: Work | None = None,
    balancing: Balancing | None = None,
) -> Case:
    """The case of a family, a seed and a size."""
    if family not in FAMILIES:
        raise ValueError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    size = size or Size()
    random = np.random.Generator(np.random.PCG64([seed, zlib.crc32(family.encode())]))
    case = Case(
        name=family,
        stations=tuple(Station() for _ in range(size.endpoints)),
        traffic=Traffic(Steps.of(1.0)),
        work=work or _some_work(random),
        proxies=size.proxies,
        duration_s=size.duration_s,
        balancing=balancing or Balancing(),
    )
    return _loaded(FAMILIES[family](case, random), size.load)


def _some_work(random: Random) -> Work:
    mean_s = float(np.exp(random.uniform(np.log(0.02), np.log(0.1))))
    laws = (
        Work(mean_s, Law.EXPONENTIAL),
        Work(mean_s, Law.LOGNORMAL, float(random.uniform(0.3, 2.0))),
        Work(mean_s, Law.DETERMINISTIC),
        Work(mean_s, Law.HYPEREXPONENTIAL, float(random.uniform(1.5, 4.0))),
    )
    return laws[int(random.choice(4, p=(0.4, 0.35, 0.1, 0.15)))]


def _loaded(case: Case, load: float) -> Case:
    """Scale the traffic, whose steps so far are relative to the mean, to a load."""
    times = sorted({t for s in case.stations for t in s.speed.from_s if t < case.duration_s})
    times = [t for t in times if _lasting(case, t)]
    start = case.capacity_rps
    least = min(_capacity_rps(case, t) for t in [0.0, *times])
    rate = min(load * start, HIGHEST_LOAD * least)
    return replace(
        case, traffic=replace(case.traffic, rate_rps=case.traffic.rate_rps * Steps.of(rate))
    )


def _lasting(case: Case, t: float) -> bool:
    """Whether the speeds of this time stand for more than a pause."""
    ends = [
        end
        for s in case.stations
        for begin, end in zip(s.speed.from_s, [*s.speed.from_s[1:], np.inf], strict=True)
        if begin == t
    ]
    return not ends or min(ends) - t > 1.0


def _capacity_rps(case: Case, t: float) -> float:
    present = [s for s in case.stations if s.joins_s <= t]
    return sum(s.workers * s.speed.at(t) for s in present) / case.mean_work_s
