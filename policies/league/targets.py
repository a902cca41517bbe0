"""What a policy has to reach, and whether it did: by the interval, not by luck.

Targets count cases that are never overloaded (`Played.gated`); the others are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from policies.league.match import Played
from policies.league.players import BOUND, FULL_SCAN, MODEL, P2C, PID, Kind, Player
from policies.league.results import FAILS_MORE, Interval, Ratio, Results, Where
from policies.league.written import BEST, MEASURES

HARM = {"mean": 1.03, "p99": 1.05}
"""Of FULL_SCAN, in any scenario."""
MANY = 16
"""Proxies from which on there is much to gain."""
REGIONS = ("two_regions", "three_regions", "slow_region")


class Verdict(StrEnum):
    """Of a limit."""

    REACHED = "reached"
    """The whole interval is at the limit or below."""
    MISSED = "missed"
    """The whole interval is above it."""
    OPEN = "open"
    """The limit is inside of the interval, or nothing can be told."""

    @classmethod
    def of(cls, interval: Interval, limit: float) -> Verdict:
        """Of a ratio."""
        if interval.high <= limit:
            return cls.REACHED
        return cls.MISSED if interval.low > limit else cls.OPEN


def worst(verdicts: list[Verdict]) -> Verdict:
    """Of several: missed before open before reached; open without any."""
    for one in (Verdict.MISSED, Verdict.OPEN):
        if one in verdicts:
            return one
    return Verdict.REACHED if verdicts else Verdict.OPEN


@dataclass(frozen=True, slots=True)
class Target:
    """Ratios to another player that are wanted."""

    name: str
    other: str
    limits: Mapping[str, float]
    """By measure; one that is not there is told and not judged."""
    where: Where


def _many(one: Played) -> bool:
    return one.gated and one.proxies >= MANY


def _gated(one: Played) -> bool:
    return one.gated


def _fifty_to_85(one: Played) -> bool:
    return one.gated and one.fixture.load <= 0.85


def _regions(one: Played) -> bool:
    return one.gated and one.fixture.family in REGIONS and one.fixture.load <= 0.7


TARGETS = (
    Target(
        "best stock policy in hindsight, 16 Envoys and more",
        BEST,
        {"mean": 0.78, "p99": 0.70},
        _many,
    ),
    Target("PID with LEAST_REQUEST", PID, {"mean": 0.85, "p99": 0.70}, _gated),
    Target("model", MODEL, {"mean": 1.0}, _gated),
    Target("omniscient least work left, 50 to 85 %", BOUND, {"mean": 1.08}, _fifty_to_85),
    Target("LEAST_REQUEST, regions at 50 to 70 %", P2C, {"mean": 0.75}, _regions),
)


@dataclass(frozen=True, slots=True)
class Reached:
    """A target, beside what was measured."""

    target: str
    ratio: Ratio
    limits: Mapping[str, float]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By measure."""
        return {m: Verdict.of(self.ratio.of(m), limit) for m, limit in self.limits.items()}

    @property
    def verdict(self) -> Verdict:
        """Of all measures together."""
        return worst(list(self.verdicts.values()))

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "target": self.target,
            "cases": self.ratio.cases,
            "verdict": self.verdict.value,
            "measures": {m: self._said(m) for m in MEASURES},
        }

    def _said(self, measure: str) -> dict[str, Any]:
        """Of a measure without a limit, what it is: it decides nothing."""
        limit, verdict = self.limits.get(measure), self.verdicts.get(measure)
        return {
            "limit": limit,
            "is": self.ratio.of(measure).document(),
            "verdict": None if verdict is None else verdict.value,
        }


def harm(ratio: Ratio) -> Verdict:
    """Of the promise to do none: latency within its limits of FULL_SCAN's, and no more errors."""
    if ratio.errors > ratio.other_errors + FAILS_MORE:
        return Verdict.MISSED
    return worst([Verdict.of(ratio.of(m), limit) for m, limit in HARM.items()])


@dataclass(frozen=True, slots=True)
class Scenario:
    """A family of cases: what a policy does there to who has FULL_SCAN."""

    family: str
    ratio: Ratio | None
    """Over the cases that count; None where there are none."""
    by_load: Mapping[float, Ratio]
    """The same for each load: what is gained at one does not make up for harm at another."""
    overloaded: Ratio | None
    """Over the cases that are reported alone."""

    @property
    def harmed(self) -> list[float]:
        """Loads at which it does harm for certain."""
        return [load for load, one in self.by_load.items() if harm(one) is Verdict.MISSED]

    @property
    def harm(self) -> Verdict:
        """Over all loads, unless there is a load at which it is missed."""
        if self.ratio is None:
            return Verdict.OPEN
        return Verdict.MISSED if self.harmed else harm(self.ratio)

    @property
    def words(self) -> str:
        """`gains`, `no harm`, `harm`, `open`, or why there is no verdict."""
        if self.ratio is None:
            return "overloaded" if self.overloaded is not None else "not played"
        if self.harm is not Verdict.REACHED:
            return "harm" if self.harm is Verdict.MISSED else "open"
        return "gains" if max(self.ratio.mean.high, self.ratio.p99.high) < 1.0 else "no harm"

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "verdict": self.words,
            "harm_at": self.harmed,
            "counted": said(self.ratio),
            "by_load": {f"{load:g}": said(one) for load, one in self.by_load.items()},
            "overloaded": said(self.overloaded),
        }


def said(ratio: Ratio | None) -> dict[str, Any] | None:
    """A ratio for JSON."""
    if ratio is None:
        return None
    return {
        "cases": ratio.cases,
        "mean": ratio.mean.document(),
        "p99": ratio.p99.document(),
        "errors": [round(ratio.errors, 5), round(ratio.other_errors, 5)],
    }


def judged(player: Player) -> bool:
    """Whether targets are for this player: what is released, and what it has to beat."""
    return player.kind is Kind.RELEASED or player.name == MODEL


def targets(results: Results, player: Player) -> list[Reached]:
    """All targets that the suite has cases of. Nobody is measured by itself."""
    found = []
    for target in TARGETS:
        if target.other == player.name:
            continue
        ratio = results.ratio(player.name, target.other, target.where)
        if ratio is not None:
            found.append(Reached(target.name, ratio, target.limits))
    return found


def scenarios(results: Results, player: Player) -> list[Scenario]:
    """Each family that was played."""
    families = dict.fromkeys(one.fixture.family for one in results.played)
    loads = sorted({one.fixture.load for one in results.played})

    def over(family: str, where: Where) -> Ratio | None:
        return results.ratio(
            player.name, FULL_SCAN, lambda one: one.fixture.family == family and where(one)
        )

    def at(load: float) -> Where:
        return lambda one: one.gated and one.fixture.load == load

    return [
        Scenario(
            family,
            over(family, _gated),
            {load: one for load in loads if (one := over(family, at(load))) is not None},
            over(family, lambda one: not one.gated),
        )
        for family in families
    ]
