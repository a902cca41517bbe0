"""Latency quantiles of many endpoints at once, in the format of the `ddsketch` library.

One `DDSketch` object for each endpoint and window costs about 50 µs with its first quantile, which
is too much for a hundred thousand endpoints. So the bins of all endpoints of a service are kept in
two arrays, with the keys of the library's own mapping, and `sketch` gives the library's object for
one of them, to merge or to store. A property test holds every quantile against the library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ddsketch import DDSketch
from ddsketch.mapping import LogarithmicMapping
from numpy.typing import NDArray

from controlplane.model.observation import Floats

ACCURACY = 0.01
"""Relative accuracy of every quantile."""
SHORTEST_S, LONGEST_S = 1e-6, 3600.0
"""Latencies are clamped to these."""

Ints = NDArray[np.int64]

_MAPPING = LogarithmicMapping(ACCURACY)
_GAMMA_LOG2 = float(np.log2(_MAPPING.gamma))
_SPAN = 1 << 16
_MIDDLE = _SPAN // 2


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """How many latencies fell into which bin of which slot."""

    codes: Ints
    """slot * 2^16 + key + 2^15, ascending and unique."""
    counts: Floats

    @classmethod
    def empty(cls) -> Bins:
        """Nothing was seen."""
        return cls(np.empty(0, np.int64), np.empty(0))

    @classmethod
    def of(cls, slots: Ints, latencies_s: Floats) -> Bins:
        """One latency for each slot named."""
        clamped = np.clip(latencies_s, SHORTEST_S, LONGEST_S)
        keys = np.ceil(np.log2(clamped) / _GAMMA_LOG2).astype(np.int64)
        return cls._summed(slots * _SPAN + keys + _MIDDLE, np.ones(len(slots)))

    @classmethod
    def merged(cls, parts: Sequence[Bins]) -> Bins:
        """All of them together."""
        filled = [part for part in parts if len(part.codes)]
        if not filled:
            return cls.empty()
        if len(filled) == 1:
            return filled[0]
        return cls._summed(
            np.concatenate([part.codes for part in filled]),
            np.concatenate([part.counts for part in filled]),
        )

    @classmethod
    def _summed(cls, codes: Ints, counts: Floats) -> Bins:
        order = np.argsort(codes, kind="stable")
        codes, counts = codes[order], counts[order]
        if not len(codes):
            return cls.empty()
        starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
        return cls(codes[starts], np.add.reduceat(counts, starts))

    def moved(self, to: Ints) -> Bins:
        """The same with slot i renamed to `to[i]`; slots that go to -1 are left out."""
        slots = to[self.codes // _SPAN]
        kept = slots >= 0
        return self._summed((slots * _SPAN + self.codes % _SPAN)[kept], self.counts[kept])

    def quantile(self, q: float, slots: int) -> Floats:
        """(slots,) the q-quantile of each slot, NaN where nothing was seen."""
        out = np.full(slots, np.nan)
        if not len(self.codes):
            return out
        owner = self.codes // _SPAN
        firsts = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))
        totals = np.add.reduceat(self.counts, firsts)
        ends = np.cumsum(self.counts)
        before = np.concatenate(([0.0], ends[np.concatenate((firsts[1:] - 1, [-1]))][:-1]))
        # The library's rule: the first bin whose running count exceeds q * (count - 1).
        ranks = before + q * (totals - 1.0)
        at = np.minimum(
            np.searchsorted(ends, ranks, side="right"), np.append(firsts[1:], len(owner)) - 1
        )
        out[owner[firsts]] = self._value(at)
        return out

    def sketch(self, slot: int) -> DDSketch:
        """The library's sketch of one slot."""
        sketch = DDSketch(ACCURACY)
        begin, end = np.searchsorted(self.codes, (slot * _SPAN, (slot + 1) * _SPAN))
        for i in range(int(begin), int(end)):
            sketch.add(float(self._value(np.array([i]))[0]), float(self.counts[i]))
        return sketch

    def _value(self, at: NDArray[np.intp]) -> Floats:
        keys = self.codes[at] % _SPAN - _MIDDLE
        values: Floats = np.exp2(keys * _GAMMA_LOG2) * (2.0 / (1.0 + _MAPPING.gamma))
        return values
