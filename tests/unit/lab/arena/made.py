"""Heats that nobody played."""

from __future__ import annotations

import math

import numpy as np

from controlplane.lab.arena.results import Heat, LaneResult

LAG = {"p50": 0.2, "p99": 2.0, "max": 9.0}


def lane(mean_ms: float | None, ratio: float | None = None, errors: int = 0) -> LaneResult:
    told = None
    if ratio is not None:
        told = dict.fromkeys(("mean", "p99"), (ratio, 0.9 * ratio, 1.1 * ratio))
    p99 = None if mean_ms is None else 4.0 * mean_ms
    return LaneResult(1000, errors, mean_ms, mean_ms, p99, {}, told)


def heat(
    seed: int,
    ratios: dict[str, float],
    *,
    scenario: str = "hardware-4x",
    base_ms: float = 100.0,
    reasons: tuple[str, ...] = (),
    errors: int = 0,
) -> Heat:
    lanes = {"full_scan": lane(base_ms)}
    lanes |= {name: lane(base_ms * one, one, errors) for name, one in ratios.items()}
    return Heat(scenario, seed, lanes, LAG, LAG, reasons, drawn=tuple(lanes))


def ratios(truth: float, spread: float, seeds: int, rng: np.random.Generator) -> list[float]:
    return [truth * math.exp(one) for one in rng.normal(0.0, spread, seeds)]
