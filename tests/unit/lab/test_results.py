from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from controlplane.lab.report import Report, compare
from controlplane.lab.results import Lag, LaneRun, Outcome, Played

LAG = Lag(0.5, 2.0, 9.0)
TITLES = {"weir": "Weir", "least_request": "LEAST_REQUEST", "full_scan": "FULL_SCAN"}


def lane(latencies: Sequence[float], status: Sequence[int] | None = None) -> LaneRun:
    count = len(latencies)
    return LaneRun(
        np.linspace(0.0, 29.9, count),
        np.array(latencies, dtype=np.float64),
        np.array(status or [200] * count, dtype=np.int16),
    )


def noisy(scale: float, seed: int = 3) -> LaneRun:
    return lane((scale * np.random.default_rng(seed).exponential(0.1, 3000)).tolist())


def report(lanes: dict[str, LaneRun], lag: Lag = LAG, reasons: tuple[str, ...] = ()) -> Report:
    facts = {"scenario": "demo", "seed": 1, "policy": "model"}
    backend_lag = {"p50": 0.1, "p99": 1.0, "max": 2.0}
    return Report.of(Played(lanes, lag), facts, TITLES, backend_lag, reasons)


def test_errors_are_counted_and_their_latency_is_not() -> None:
    run = lane([0.1, 0.001, np.nan, 0.3], [200, 503, Outcome.DEADLINE, 200])
    assert run.summary() == {
        "requests": 4,
        "errors": 2,
        "mean_ms": 200.0,
        "p50_ms": 200.0,
        "p99_ms": 298.0,
    }
    assert run.outcomes() == {"no answer before the deadline": 1, "HTTP 503": 1}


def test_a_lane_without_an_answer_has_no_latency_and_makes_the_run_invalid() -> None:
    dead = lane([np.nan] * 10, [Outcome.REFUSED] * 10)
    told = report({"weir": noisy(1.0), "full_scan": dead})
    assert dead.summary()["mean_ms"] is None
    assert told.to_json()["ratio"] == {}
    assert told.problems() == ("lane full_scan: no request was answered with success",)


def test_per_second_rows_add_up() -> None:
    run = noisy(1.0)
    assert sum(int(row["requests"] or 0) for row in run.per_second()) == run.requests
    assert len(run.per_second()) == 30


def test_the_json_has_the_lanes_and_the_ratios_of_weir_to_the_others() -> None:
    lanes = {"weir": noisy(0.5), "least_request": noisy(1.0), "full_scan": noisy(0.8)}
    document = json.loads(json.dumps(report(lanes).to_json(), allow_nan=False))
    assert list(document["lanes"]) == ["weir", "least_request", "full_scan"]
    for numbers in document["lanes"].values():
        assert list(numbers) == ["requests", "errors", "mean_ms", "p50_ms", "p99_ms"]
    assert document["ratio"]["least_request"] == {"mean": 0.5, "p99": 0.5}
    assert document["ratio"]["full_scan"]["mean"] == pytest.approx(0.625)
    assert document["valid"] is True
    assert document["reasons"] == []
    assert document["seed"] == 1


def test_identical_lanes_are_no_difference() -> None:
    ratio = compare(noisy(1.0, seed=1), noisy(1.0, seed=2))
    assert ratio is not None
    assert ratio.mean_interval[0] < 1.0 < ratio.mean_interval[1]
    said = report({"weir": noisy(1.0, seed=1), "full_scan": noisy(1.0, seed=2)}).sentences()
    assert "mean no clear difference" in said[0]


def test_a_lane_that_is_clearly_slower_is_said_to_be_slower() -> None:
    said = report({"weir": noisy(1.5), "full_scan": noisy(1.0)}).sentences()
    assert "mean 50 % higher" in said[0]


def test_a_late_generator_makes_the_run_invalid_and_nothing_is_claimed() -> None:
    lanes = {"weir": noisy(0.5), "full_scan": noisy(1.0)}
    told = report(lanes, lag=Lag(1.0, 80.0, 90.0))
    assert told.to_json()["valid"] is False
    assert "the generator was too busy" in told.to_json()["reasons"][0]
    assert told.sentences()[0].startswith("This run is not valid")
    assert not any("lower" in sentence for sentence in told.sentences()[1:])


def test_a_machine_that_was_busy_is_told_as_its_lanes_are_not_alike_then() -> None:
    lanes = {"weir": noisy(0.5), "full_scan": noisy(1.0)}
    assert not any("busy" in one for one in report(lanes).sentences())
    said = report(lanes, lag=Lag(1.0, 9.0, 30.0)).sentences()
    assert any(one.startswith("The machine was busy (9.0 ms late at p99") for one in said)


def test_what_went_wrong_around_the_run_makes_it_invalid() -> None:
    told = report({"weir": noisy(1.0)}, reasons=("weir serve ended during the run",))
    assert told.to_json()["reasons"] == ["weir serve ended during the run"]
