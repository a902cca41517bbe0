"""Numbers that are constant for a while and then jump: speeds, failure ratios, arrival rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Steps:
    """A piecewise constant function of time, from 0 on.

    >>> (Steps.of(2.0) * Steps((0.0, 5.0), (1.0, 0.5))).at(6.0)
    1.0
    """

    from_s: tuple[float, ...]
    value: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.from_s) != len(self.value) or not self.from_s or self.from_s[0] != 0.0:
            raise ValueError("steps begin at 0 and have one value each")
        if any(not b > a for a, b in zip(self.from_s, self.from_s[1:], strict=False)):
            raise ValueError("steps are in order of time")
        # What is no number would send the event loop, which checks no index, beyond its arrays.
        if not all(0.0 <= one < np.inf for one in self.value):
            raise ValueError("the values of steps are numbers, and not negative")

    @classmethod
    def of(cls, value: float) -> Steps:
        """The same at all times."""
        return cls((0.0,), (float(value),))

    @classmethod
    def during(cls, spans: Iterable[tuple[float, float]], inside: float) -> Steps:
        """`inside` during each span (from, to), 1 elsewhere. Spans are in order and apart."""
        from_s, value = [0.0], [1.0]
        for begin, end in spans:
            if begin <= from_s[-1]:
                value[-1] = inside
            else:
                from_s.append(begin)
                value.append(inside)
            from_s.append(end)
            value.append(1.0)
        return cls(tuple(from_s), tuple(value))

    @classmethod
    def wave(cls, mean: float, swing: float, period_s: float, until_s: float) -> Steps:
        """A day: mean x (1 - swing x cos), lowest at 0, in steps of a 48th of the period."""
        if not 0.0 <= swing <= 1.0:
            raise ValueError("a wave swings by 0 to 1 of its mean")
        width = period_s / 48.0
        count = max(1, int(np.ceil(until_s / width)))
        middle = (np.arange(count) + 0.5) * width
        value = mean * (1.0 - swing * np.cos(2.0 * np.pi * middle / period_s))
        return cls(tuple((np.arange(count) * width).tolist()), tuple(value.tolist()))

    def at(self, when_s: float) -> float:
        """The value at a time."""
        return self.value[int(np.searchsorted(self.from_s, when_s, side="right")) - 1]

    def __mul__(self, other: Steps) -> Steps:
        times = np.union1d(self.from_s, other.from_s)
        values = self._at(times) * other._at(times)
        return Steps(tuple(times.tolist()), tuple(values.tolist()))

    def _at(self, times_s: Floats) -> Floats:
        return np.array(self.value)[np.searchsorted(self.from_s, times_s, side="right") - 1]


def table(rows: Sequence[Steps]) -> tuple[Floats, Floats]:
    """(n, k + 1) times that end with infinity, and (n, k) values, as the event loop takes them."""
    most = max(len(row.value) for row in rows)
    from_s = np.full((len(rows), most + 1), np.inf)
    value = np.empty((len(rows), most))
    for i, row in enumerate(rows):
        from_s[i, : len(row.from_s)] = row.from_s
        value[i, : len(row.value)] = row.value
        value[i, len(row.value) :] = row.value[-1]
    return from_s, value
