"""What came of a run: every counted request of every lane, and how late the generator was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_LAG_P99_MS = 25.0
"""A generator that was later than this at p99 was too busy: the run is not valid."""
MAX_LAG_MS = 250.0
"""The same for its worst moment."""
BUSY_LAG_P99_MS = 5.0
"""Later than this and the machine was short of time, which lanes do not bear alike: whose Envoys
and control plane do more for each request lose more (docs/arena.md, "In time")."""


class Outcome(IntEnum):
    """What became of a request that has no HTTP status."""

    DEADLINE = -1
    REFUSED = -2
    CLOSED = -3
    TOO_MANY = -4
    NOT_HTTP = -5

    @property
    def text(self) -> str:
        """For people."""
        return {
            Outcome.DEADLINE: "no answer before the deadline",
            Outcome.REFUSED: "connection refused",
            Outcome.CLOSED: "connection closed before the answer",
            Outcome.TOO_MANY: "too many requests in flight",
            Outcome.NOT_HTTP: "not HTTP",
        }[self]


@dataclass(frozen=True, slots=True)
class Lag:
    """How late the generator sent, in milliseconds after the scheduled time."""

    p50_ms: float
    p99_ms: float
    max_ms: float

    def problems(self) -> tuple[str, ...]:
        """Why the run is not valid, if it is not."""
        if self.p99_ms > MAX_LAG_P99_MS or self.max_ms > MAX_LAG_MS:
            return (
                f"the generator was too busy: it sent {self.p99_ms:.1f} ms late at p99 and "
                f"{self.max_ms:.0f} ms at worst (allowed: {MAX_LAG_P99_MS:.0f} and "
                f"{MAX_LAG_MS:.0f}); free the machine or lower --rate",
            )
        return ()


@dataclass(frozen=True, slots=True, eq=False)
class LaneRun:
    """What a lane did with each counted request, in the order of the schedule."""

    at_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    """From the scheduled time to the whole answer; NaN where there was none."""
    status: NDArray[np.int16]
    """HTTP status, or an `Outcome`."""

    @property
    def good(self) -> NDArray[np.bool_]:
        """Answered with success."""
        return np.asarray(self.status == 200)

    @property
    def requests(self) -> int:
        """All that were scheduled, whatever came of them."""
        return len(self.status)

    @property
    def errors(self) -> int:
        """Those not answered with 200."""
        return int(self.requests - self.good.sum())

    def mean_ms(self) -> float:
        """Of the requests answered with success, as are the quantiles; NaN where there is none."""
        good = self.latency_s[self.good]
        return float(1e3 * good.mean()) if len(good) else float("nan")

    def quantile_ms(self, q: float) -> float:
        """The quantile `q` of the latencies."""
        good = self.latency_s[self.good]
        return float(1e3 * np.quantile(good, q)) if len(good) else float("nan")

    def between(self, from_s: float, until_s: float) -> LaneRun:
        """Only what was scheduled in [from_s, until_s)."""
        part = (self.at_s >= from_s) & (self.at_s < until_s)
        return LaneRun(self.at_s[part], self.latency_s[part], self.status[part])

    def outcomes(self) -> dict[str, int]:
        """How often which error."""
        codes, counts = np.unique(self.status[~self.good], return_counts=True)
        return {
            (Outcome(int(code)).text if code < 0 else f"HTTP {int(code)}"): int(count)
            for code, count in zip(codes, counts, strict=True)
        }

    def per_second(self) -> list[dict[str, float | int | None]]:
        """Requests, errors, mean and p99 of each second, for plots and for the curious."""
        if not self.requests:
            return []
        rows: list[dict[str, float | int | None]] = []
        for second in range(int(self.at_s[-1]) + 1):
            part = self.between(second, second + 1)
            rows.append(
                {
                    "second": second,
                    "requests": part.requests,
                    "errors": part.errors,
                    "mean_ms": rounded(part.mean_ms()),
                    "p99_ms": rounded(part.quantile_ms(0.99)),
                }
            )
        return rows

    def summary(self) -> dict[str, Any]:
        """The numbers of the report."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "mean_ms": rounded(self.mean_ms()),
            "p50_ms": rounded(self.quantile_ms(0.50)),
            "p99_ms": rounded(self.quantile_ms(0.99)),
        }


def rounded(value: float, digits: int = 3) -> float | None:
    """A number that JSON knows: None for NaN."""
    return None if not np.isfinite(value) else round(value, digits)


@dataclass(frozen=True, slots=True)
class LiveLane:
    """A lane as the run goes on."""

    done: int
    errors: int
    in_flight: int
    mean_ms: float | None
    """So far, without the warm-up."""
    p50_ms: float | None
    p99_ms: float | None
    now_mean_ms: float | None
    """Of the last seconds."""
    now_p50_ms: float | None
    now_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Live:
    """One look at a run while it goes on, twice a second."""

    at_s: float
    """Below 0: still warming up."""
    lanes: Mapping[str, LiveLane]
    lag: Lag


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """A finished run."""

    lanes: Mapping[str, LaneRun]
    lag: Lag

    def problems(self) -> tuple[str, ...]:
        """Why the numbers are not to be relied on; empty when they are."""
        found = list(self.lag.problems())
        for name, lane in self.lanes.items():
            refused = int((lane.status == Outcome.TOO_MANY).sum())
            if refused:
                found.append(f"lane {name}: {refused} requests were over the generator's own bound")
        return tuple(found)
