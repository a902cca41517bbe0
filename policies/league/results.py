"""Ratios of what players' requests got, on the same cases, with how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.league.intervals import intervals
from policies.league.match import Played
from policies.league.players import FULL_SCAN, Kind, Player
from policies.league.written import BEST, MEASURES

Floats = NDArray[np.float64]
Where = Callable[[Played], bool]

FAILS_MORE = 0.005
"""More of the requests than with another: then being fast is no merit."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A geometric mean of ratios, and its 95 % interval; NaN where it cannot be told."""

    ratio: float
    low: float
    high: float

    def document(self) -> list[float | None]:
        """For JSON, which has no NaN."""
        return [
            round(value, 4) if np.isfinite(value) else None
            for value in (self.ratio, self.low, self.high)
        ]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One player to another."""

    cases: int
    mean: Interval
    p99: Interval
    errors: float
    """Part of the requests that failed, mean over the cases."""
    other_errors: float

    def of(self, measure: str) -> Interval:
        """`mean` or `p99`."""
        return self.mean if measure == "mean" else self.p99


class Results:
    """What was played, as tables: (cases, players) logarithms of seconds, and error ratios."""

    def __init__(self, played: Sequence[Played], players: Sequence[Player]) -> None:
        if not played:
            raise ValueError("nothing was played")
        self.played = tuple(played)
        self.players = tuple(players)
        names = [one.name for one in players]
        got = [[one.got[name] for name in names] for one in played]
        self._errors = np.array([[cell.error_ratio for cell in row] for row in got])
        self._log = {
            "mean": np.log([[cell.mean_s for cell in row] for row in got]),
            "p99": np.log([[cell.p99_s for cell in row] for row in got]),
        }
        self._column = {name: i for i, name in enumerate(names)}
        stock = [i for i, one in enumerate(players) if one.kind is Kind.STOCK]
        if stock:
            self._add_best(stock)

    def _add_best(self, stock: list[int]) -> None:
        """For each measure its own: the least of those that do not fail more than need be."""
        errors = self._errors[:, stock]
        fails = errors > errors.min(axis=1, keepdims=True) + FAILS_MORE
        for measure, log in self._log.items():
            allowed = np.where(fails, np.inf, log[:, stock])
            self._log[measure] = np.column_stack([log, allowed.min(axis=1)])
        self._errors = np.column_stack([self._errors, errors.min(axis=1)])
        self._column[BEST] = len(self.players)

    def ratios(
        self, pairs: Sequence[tuple[str, str]], where: Where = lambda _: True
    ) -> list[Ratio] | None:
        """Each (player, other) over the cases of `where`; None where there is no case."""
        rows = np.array([i for i, one in enumerate(self.played) if where(one)], np.intp)
        if len(rows) == 0:
            return None
        a = [self._column[one] for one, _ in pairs]
        b = [self._column[other] for _, other in pairs]
        logs = [self._log[m][rows][:, a] - self._log[m][rows][:, b] for m in MEASURES]
        fixtures = [self.played[i].fixture for i in rows.tolist()]
        found = intervals(
            np.concatenate(logs, axis=1),
            [one.service for one in fixtures],
            [one.family for one in fixtures],
        )
        mean, p99 = np.exp(found[: len(pairs)]), np.exp(found[len(pairs) :])
        errors = self._errors[rows].mean(axis=0)
        return [
            Ratio(
                len(rows),
                Interval(*mean[k].tolist()),
                Interval(*p99[k].tolist()),
                float(errors[a[k]]),
                float(errors[b[k]]),
            )
            for k in range(len(pairs))
        ]

    def ratio(self, player: str, other: str, where: Where = lambda _: True) -> Ratio | None:
        """One of them."""
        found = self.ratios([(player, other)], where)
        return None if found is None else found[0]

    def table(self, where: Where = lambda _: True, other: str = FULL_SCAN) -> dict[str, Ratio]:
        """Every player, and the best stock policy, to `other`."""
        names = list(self._column)
        found = self.ratios([(name, other) for name in names], where)
        return {} if found is None else dict(zip(names, found, strict=True))
