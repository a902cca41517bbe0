"""What a demo may say of its run: numbers, ratios with intervals, and why not to believe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controlplane.lab.results import BUSY_LAG_P99_MS, LaneRun, Played, rounded

BLOCK_S = 3.0
"""Requests near in time share their fate: intervals are drawn over blocks of this length."""
RESAMPLES = 300
MAX_BACKEND_LAG_P99_MS = 25.0
"""Backends whose timers were later than this at p99 did not play the script."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One lane to another: below 1 is faster. Intervals hold 95 % of what resampling gives."""

    mean: float
    p99: float
    mean_interval: tuple[float, float]
    p99_interval: tuple[float, float]


def compare(ours: LaneRun, other: LaneRun, seed: int = 0) -> Ratio | None:
    """Our latency to that of the other lane; None when a lane answered nothing.

    The lanes were asked the same at the same time, so blocks of time are drawn for both at once
    (a paired block bootstrap). The interval says what this run resolves, not what another seed
    would give.
    """
    if not (ours.good.any() and other.good.any()):
        return None
    rng = np.random.default_rng(seed)
    blocks = max(1, int(np.ceil((ours.at_s[-1] + 1e-9) / BLOCK_S)))
    parts = [_by_block(lane, blocks) for lane in (ours, other)]
    means, p99s = [], []
    for _ in range(RESAMPLES):
        picked = rng.integers(0, blocks, size=blocks)
        a, b = (np.concatenate([part[i] for i in picked]) for part in parts)
        if len(a) and len(b):
            means.append(a.mean() / b.mean())
            p99s.append(np.quantile(a, 0.99) / np.quantile(b, 0.99))
    return Ratio(
        mean=ours.mean_ms() / other.mean_ms(),
        p99=ours.quantile_ms(0.99) / other.quantile_ms(0.99),
        mean_interval=_interval(means),
        p99_interval=_interval(p99s),
    )


def _by_block(lane: LaneRun, blocks: int) -> list[np.ndarray[Any, Any]]:
    good = lane.good
    of = np.minimum((lane.at_s[good] / BLOCK_S).astype(int), blocks - 1)
    latency = lane.latency_s[good]
    return [latency[of == block] for block in range(blocks)]


def _interval(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A finished demo."""

    played: Played
    facts: Mapping[str, Any]
    """What was run: scenario, seed, policy, rate, and so on; goes into the JSON as it is."""
    titles: Mapping[str, str]
    backend_lag_ms: Mapping[str, float]
    reasons: tuple[str, ...] = ()
    """Why the run is not valid, from what went on around it."""
    ratios: Mapping[str, Ratio | None] = field(default_factory=dict)
    """Weir to each other lane."""

    @classmethod
    def of(
        cls,
        played: Played,
        facts: Mapping[str, Any],
        titles: Mapping[str, str],
        backend_lag_ms: Mapping[str, float],
        reasons: tuple[str, ...] = (),
    ) -> Report:
        """With the ratios worked out."""
        ours = played.lanes.get("weir")
        others = {name: lane for name, lane in played.lanes.items() if name != "weir"}
        ratios = {} if ours is None else {n: compare(ours, lane) for n, lane in others.items()}
        return cls(played, facts, titles, backend_lag_ms, reasons, ratios)

    def problems(self) -> tuple[str, ...]:
        """Why the run is not valid; empty when it is."""
        found = [*self.played.problems(), *self.reasons]
        late = self.backend_lag_ms["p99"]
        if late > MAX_BACKEND_LAG_P99_MS:
            found.append(
                f"the backends were too busy: {late:.1f} ms late at p99 "
                f"(allowed: {MAX_BACKEND_LAG_P99_MS:.0f})"
            )
        for name, lane in self.played.lanes.items():
            if not lane.good.any():
                found.append(f"lane {name}: no request was answered with success")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """The object that `--output json` prints."""
        lanes = self.played.lanes
        lag = self.played.lag
        problems = self.problems()
        return {
            "lanes": {name: lane.summary() for name, lane in lanes.items()},
            "ratio": {
                name: {"mean": _short(ratio.mean), "p99": _short(ratio.p99)}
                for name, ratio in self.ratios.items()
                if ratio is not None
            },
            "interval": {
                name: {
                    "mean": [_short(one) for one in ratio.mean_interval],
                    "p99": [_short(one) for one in ratio.p99_interval],
                }
                for name, ratio in self.ratios.items()
                if ratio is not None
            },
            "errors_by_kind": {name: lane.outcomes() for name, lane in lanes.items()},
            "generator_lag_ms": {"p50": lag.p50_ms, "p99": lag.p99_ms, "max": lag.max_ms},
            "backend_lag_ms": dict(self.backend_lag_ms),
            **self.facts,
            "valid": not problems,
            "reasons": list(problems),
        }

    def sentences(self) -> list[str]:
        """What this run showed, and no more, for people."""
        problems = self.problems()
        if problems:
            return ["This run is not valid: " + "; ".join(problems) + "."]
        said = [
            f"Against {self.titles[name]}: mean {_verdict(ratio.mean, ratio.mean_interval)}, "
            f"p99 {_verdict(ratio.p99, ratio.p99_interval)}."
            for name, ratio in self.ratios.items()
            if ratio is not None
        ]
        late_ms = max(self.played.lag.p99_ms, self.backend_lag_ms["p99"])
        if said and late_ms > BUSY_LAG_P99_MS:
            said.append(
                f"The machine was busy ({late_ms:.1f} ms late at p99; quiet: at most "
                f"{BUSY_LAG_P99_MS:.0f}), which costs Weir's lane more than the others."
            )
        if said:
            said.append(
                "One run of one seed on this machine; the intervals say what it can resolve. "
                "benchmarks/demo_seeds.py plays several seeds."
            )
        return said


def _short(value: float) -> float | None:
    return rounded(value, 4)


def _verdict(ratio: float, interval: tuple[float, float]) -> str:
    """`12 % lower (8 to 16 %)`, or that nothing can be said.

    >>> _verdict(0.88, (0.84, 0.92))
    '12 % lower (8 to 16 %)'
    >>> _verdict(0.97, (0.90, 1.04))
    'no clear difference (ratio 0.97, interval 0.90 to 1.04)'
    """
    low, high = interval
    if low <= 1.0 <= high:
        return f"no clear difference (ratio {ratio:.2f}, interval {low:.2f} to {high:.2f})"
    if ratio < 1.0:
        return (
            f"{100 * (1 - ratio):.0f} % lower ({100 * (1 - high):.0f} to {100 * (1 - low):.0f} %)"
        )
    return f"{100 * (ratio - 1):.0f} % higher ({100 * (low - 1):.0f} to {100 * (high - 1):.0f} %)"
