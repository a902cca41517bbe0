"""What is kept of a heat, as values and as JSON: enough to work everything out again from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from controlplane.lab.report import Ratio, compare
from controlplane.lab.results import BUSY_LAG_P99_MS, Played, rounded


@dataclass(frozen=True, slots=True)
class LaneResult:
    """One lane of one heat. Latencies are those of answers with success; None without any."""

    requests: int
    errors: int
    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Errors by what they were."""
    ratio: Mapping[str, tuple[float, float, float]] | None = None
    """`mean` and `p99` to the reference: value and 95 % interval of this heat alone."""
    seconds_mean_ms: tuple[float | None, ...] = ()
    seconds_p99_ms: tuple[float | None, ...] = ()
    """Second by second, where wanted."""

    @property
    def error_ratio(self) -> float:
        """Part of the requests that were not answered with success."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What played a heat; "" where that was not kept."""

    commit: str = ""
    """Of the code, when the run began (`controlplane.checkout`)."""
    release: str = ""
    """Digest of the released model, where one played."""


@dataclass(frozen=True, slots=True)
class Heat:
    """Some lanes, side by side, on one schedule."""

    scenario: str
    seed: int
    lanes: Mapping[str, LaneResult]
    """Empty when it could not be played."""
    generator_lag_ms: Mapping[str, float]
    backend_lag_ms: Mapping[str, float]
    reasons: tuple[str, ...] = ()
    """Why it does not count; empty: it does."""
    attempt: int = 1
    drawn: tuple[str, ...] = ()
    """Who was to play."""
    made_by: MadeBy = MadeBy()

    @property
    def valid(self) -> bool:
        """Whether it counts."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """As `of_json` reads it."""
        return asdict(self) | {"valid": self.valid}

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> Heat:
        """Raises `KeyError`, `TypeError` or `ValueError` where it is not one."""
        lanes = {}
        for name, one in document["lanes"].items():
            ratio = one["ratio"]
            lanes[name] = LaneResult(
                **{
                    **one,
                    "ratio": None if ratio is None else {k: _three(v) for k, v in ratio.items()},
                    "seconds_mean_ms": tuple(one["seconds_mean_ms"]),
                    "seconds_p99_ms": tuple(one["seconds_p99_ms"]),
                }
            )
        return cls(
            scenario=str(document["scenario"]),
            seed=int(document["seed"]),
            lanes=lanes,
            generator_lag_ms=document["generator_lag_ms"],
            backend_lag_ms=document["backend_lag_ms"],
            reasons=tuple(document["reasons"]),
            attempt=int(document["attempt"]),
            drawn=tuple(document["drawn"]),
            made_by=MadeBy(**document.get("made_by", {})),  # older files do not say
        )


def _three(values: Any) -> tuple[float, float, float]:  # noqa: ANN401 - from JSON
    value, low, high = (float(one) for one in values)
    return value, low, high


def lane_results(played: Played, reference: str, *, seconds: bool) -> dict[str, LaneResult]:
    """What is kept of what was played; `seconds`: also second by second."""
    base = played.lanes.get(reference)
    results = {}
    for name, lane in played.lanes.items():
        ratio = None if base is None or name == reference else compare(lane, base)
        rows = lane.per_second() if seconds else []
        results[name] = LaneResult(
            requests=lane.requests,
            errors=lane.errors,
            mean_ms=rounded(lane.mean_ms()),
            p50_ms=rounded(lane.quantile_ms(0.5)),
            p99_ms=rounded(lane.quantile_ms(0.99)),
            kinds=lane.outcomes(),
            ratio=None if ratio is None else _short(ratio),
            seconds_mean_ms=tuple(_tenth(row["mean_ms"]) for row in rows),
            seconds_p99_ms=tuple(_tenth(row["p99_ms"]) for row in rows),
        )
    return results


def _short(ratio: Ratio) -> dict[str, tuple[float, float, float]]:
    return {
        "mean": _four((ratio.mean, *ratio.mean_interval)),
        "p99": _four((ratio.p99, *ratio.p99_interval)),
    }


def _four(values: tuple[float, float, float]) -> tuple[float, float, float]:
    value, low, high = (round(one, 4) for one in values)
    return value, low, high


def _tenth(value: float | int | None) -> float | None:
    return None if value is None else round(value, 1)


def late(
    generator_lag_ms: Mapping[str, float], backend_lag_ms: Mapping[str, float], most_ms: float
) -> list[str]:
    """Who was later than that at p99: the machine was too busy for the heat to count."""
    found = {"generator was": generator_lag_ms, "backends were": backend_lag_ms}
    return [
        f"the {who} too busy: {lag['p99']:.1f} ms late at p99 (--max-lag {most_ms:g})"
        for who, lag in found.items()
        if lag and lag["p99"] > most_ms
    ]


def doubts(
    played: Played, backend_lag_ms: Mapping[str, float], most_late_ms: float = BUSY_LAG_P99_MS
) -> list[str]:
    """Why a heat that was played to its end does not count: the machine was too busy, mostly."""
    generator = {} if played.lag.problems() else {"p99": played.lag.p99_ms}
    found = [*played.problems(), *late(generator, backend_lag_ms, most_late_ms)]
    found += [
        f"lane {name}: no request was answered with success"
        for name, lane in played.lanes.items()
        if not lane.good.any()
    ]
    return found
