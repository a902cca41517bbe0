"""What came of the heats: ratios to the reference, with intervals over seeds, and verdicts.

A ratio is always of two lanes of one heat, or, for lanes that met in no heat, of their ratios to
the reference. Over seeds: the geometric mean, and Student's interval of the logarithms. With one
seed the interval is that of the heat alone (paired blocks of time), which is narrower than the
truth: another seed may differ by more.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from controlplane.lab.arena.contestants import CONTESTANTS
from controlplane.lab.arena.results import Heat

MEASURES = ("mean", "p99")
ERRORS_MATTER = 0.005
"""More errors than another, as a part of the requests: then being fast is no merit."""
# Student's t at 97.5 %, by degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179,
      2.160)  # fmt: skip
_T_MANY = 2.15


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio of latencies, below 1 is faster, and where it lies with 95 %."""

    value: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> str:
        """`faster`, `slower`, or `alike` where the interval holds 1."""
        return "faster" if self.high < 1.0 else "slower" if self.low > 1.0 else "alike"


def over_seeds(logs: Sequence[float]) -> Estimate:
    """From the logarithm of the ratio of each seed, two at least.

    >>> over_seeds([math.log(0.8), math.log(0.8)]).value
    0.8
    """
    n = len(logs)
    if n < 2:
        raise ValueError("an interval over seeds wants two seeds")
    middle = statistics.fmean(logs)
    t = _T[n - 2] if n - 2 < len(_T) else _T_MANY
    half = t * statistics.stdev(logs) / math.sqrt(n)
    return Estimate(
        round(math.exp(middle), 4), round(math.exp(middle - half), 4),
        round(math.exp(middle + half), 4), n,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """One lane in one scenario."""

    mean: Estimate | None
    p99: Estimate | None
    """To the reference; None where there is no valid heat, and for the reference itself."""
    mean_ms: float
    p99_ms: float
    """Over the valid seeds."""
    error_ratio: float

    def to(self, measure: str) -> Estimate | None:
        """By name."""
        return self.mean if measure == "mean" else self.p99


class Tally:
    """All valid heats of one arena."""

    def __init__(self, heats: Sequence[Heat], reference: str) -> None:
        self.heats = tuple(heats)
        self.reference = reference
        self._valid = [one for one in heats if one.valid and reference in one.lanes]
        self.scenarios = tuple(dict.fromkeys(one.scenario for one in heats))
        drawn = {name for one in heats for name in one.drawn}
        self.lanes = tuple(name for name in CONTESTANTS if name in drawn)

    def standing(self, scenario: str, lane: str) -> Standing | None:
        """None where the lane has no valid heat."""
        mine = [h for h in self._valid if h.scenario == scenario and lane in h.lanes]
        mine = [h for h in mine if h.lanes[lane].mean_ms is not None]
        if not mine:
            return None
        rows = [h.lanes[lane] for h in mine]
        return Standing(
            mean=self._ratio(mine, lane, "mean"),
            p99=self._ratio(mine, lane, "p99"),
            mean_ms=statistics.fmean(row.mean_ms for row in rows if row.mean_ms is not None),
            p99_ms=statistics.fmean(row.p99_ms for row in rows if row.p99_ms is not None),
            error_ratio=sum(row.errors for row in rows) / max(1, sum(r.requests for r in rows)),
        )

    def _ratio(self, heats: Sequence[Heat], lane: str, measure: str) -> Estimate | None:
        if lane == self.reference:
            return None
        logs = _by_seed(heats, lane, measure)
        if len(logs) >= 2:
            return over_seeds(list(logs.values()))
        for heat in heats:
            ratio = heat.lanes[lane].ratio
            if ratio is not None:
                return Estimate(*ratio[measure], 1)
        return None

    def against(self, scenario: str, lane: str, other: str, measure: str) -> Estimate | None:
        """One lane to another, over the seeds that both have; two at least."""
        logs = self._to(scenario, lane, other, measure)
        return over_seeds(list(logs.values())) if len(logs) >= 2 else None

    def best(self, scenario: str, among: Sequence[str]) -> str | None:
        """Who of them had the lowest mean latency in hindsight, relative to the reference: of those
        that fail about as few requests as any of them, as latencies are of successes alone."""
        found = {name: one for name in among if (one := self.standing(scenario, name)) is not None}
        least = min((one.error_ratio for one in found.values()), default=0.0)
        means = {
            name: 1.0 if one.mean is None else one.mean.value
            for name, one in found.items()
            if one.error_ratio <= least + ERRORS_MATTER
        }
        return min(means, key=lambda name: means[name]) if means else None

    def overall(
        self, lane: str, measure: str, other: Callable[[str], str | None] | None = None
    ) -> Estimate | None:
        """Over all scenarios alike, and the seeds that are valid in each; two seeds at least.

        `other` names whom it is compared with in a scenario; not given: the reference.
        """
        per_scenario = []
        for name in self.scenarios:
            whom = self.reference if other is None else other(name)
            per_scenario.append({} if whom is None else self._to(name, lane, whom, measure))
        seeds = set.intersection(*(set(one) for one in per_scenario)) if per_scenario else set()
        if len(seeds) < 2:
            return None
        return over_seeds([statistics.fmean(one[seed] for one in per_scenario) for seed in seeds])

    def _to(self, scenario: str, lane: str, other: str, measure: str) -> dict[int, float]:
        """Seed -> logarithm of the ratio of two lanes."""
        ours, theirs = (self._logs(scenario, name, measure) for name in (lane, other))
        return {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}

    def _logs(self, scenario: str, lane: str, measure: str) -> dict[int, float]:
        """Seed -> logarithm of the ratio to the reference."""
        here = [heat for heat in self._valid if heat.scenario == scenario]
        if lane == self.reference:
            return {heat.seed: 0.0 for heat in here}
        return _by_seed(here, lane, measure)

    def repeats(self) -> Mapping[str, float]:
        """How far the reference is from itself, in heats of one scenario and seed: the median and
        the most of |ratio - 1|, of mean and p99. Empty where it never played twice."""
        logs: dict[str, list[float]] = {measure: [] for measure in MEASURES}
        met: dict[tuple[str, int], list[Heat]] = defaultdict(list)
        for heat in self._valid:
            met[heat.scenario, heat.seed].append(heat)
        for first, *others in met.values():
            for other in others:
                a, b = first.lanes[self.reference], other.lanes[self.reference]
                for measure, one, two in (
                    ("mean", a.mean_ms, b.mean_ms),
                    ("p99", a.p99_ms, b.p99_ms),
                ):
                    if one and two:
                        logs[measure].append(abs(math.log(one / two)))
        return {
            f"{measure}_{name}": round(math.expm1(of(values)), 4)
            for measure, values in logs.items()
            if values
            for name, of in (("median", statistics.median), ("most", max))
        }


def _by_seed(heats: Sequence[Heat], lane: str, measure: str) -> dict[int, float]:
    """Seed -> logarithm of the ratio to the reference."""
    logs = {}
    for heat in heats:
        ratio = heat.lanes[lane].ratio if lane in heat.lanes else None
        if ratio is not None and ratio[measure][0] > 0.0:
            logs[heat.seed] = math.log(ratio[measure][0])
    return logs
