from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from controlplane.lab.arena.results import Heat, MadeBy, doubts, lane_results
from controlplane.lab.results import Lag, LaneRun, Outcome, Played
from tests.unit.lab.arena.made import LAG, heat


def lane(scale: float, *, answered: bool = True) -> LaneRun:
    rng = np.random.default_rng(3)
    latency = scale * rng.exponential(0.1, 3000)
    status = np.full(3000, 200 if answered else Outcome.DEADLINE, dtype=np.int16)
    return LaneRun(np.linspace(0.0, 29.9, 3000), latency if answered else latency * np.nan, status)


def played(late_ms: float = 2.0, **lanes: LaneRun) -> Played:
    return Played(lanes, Lag(0.2, late_ms, 3.0 * late_ms))


def test_what_is_kept_of_a_lane_is_what_it_did_and_its_ratio_within_the_heat() -> None:
    kept = lane_results(played(full_scan=lane(1.0), model=lane(0.8)), "full_scan", seconds=True)
    assert kept["full_scan"].ratio is None
    assert kept["model"].ratio is not None
    assert kept["model"].ratio["mean"] == pytest.approx((0.8, 0.8, 0.8))
    assert len(kept["model"].seconds_p99_ms) == 30
    bare = lane_results(played(full_scan=lane(1.0)), "full_scan", seconds=False)
    assert bare["full_scan"].seconds_mean_ms == ()


def test_a_generator_or_backends_that_were_late_make_a_heat_worthless() -> None:
    assert doubts(played(full_scan=lane(1.0)), LAG) == []
    assert "generator was too busy" in doubts(played(40.0, full_scan=lane(1.0)), LAG)[0]
    late = doubts(played(full_scan=lane(1.0)), {**LAG, "p99": 26.0})
    assert "backends were too busy" in late[0]


def test_a_machine_that_is_a_little_busy_makes_lanes_unlike_and_a_heat_worthless() -> None:
    assert doubts(played(4.9, full_scan=lane(1.0)), LAG) == []
    (said,) = doubts(played(6.0, full_scan=lane(1.0)), LAG)
    assert said == "the generator was too busy: 6.0 ms late at p99 (--max-lag 5)"
    (said,) = doubts(played(full_scan=lane(1.0)), {**LAG, "p99": 6.0})
    assert said == "the backends were too busy: 6.0 ms late at p99 (--max-lag 5)"
    assert doubts(played(6.0, full_scan=lane(1.0)), LAG, 10.0) == []
    assert len(doubts(played(40.0, full_scan=lane(1.0)), LAG)) == 1  # said once


def test_a_lane_that_answered_nothing_makes_a_heat_worthless() -> None:
    dead = played(full_scan=lane(1.0), cswrr=lane(1.0, answered=False))
    assert doubts(dead, LAG) == ["lane cswrr: no request was answered with success"]
    assert lane_results(dead, "full_scan", seconds=False)["cswrr"].ratio is None


def test_a_heat_of_an_older_file_does_not_say_what_played_it() -> None:
    now = replace(heat(1, {"model": 0.8}), made_by=MadeBy("a" * 40, "sha256:b"))
    document = json.loads(json.dumps(now.to_json()))
    assert Heat.of_json(document) == now
    del document["made_by"]
    assert Heat.of_json(document).made_by == MadeBy("", "")


def test_a_heat_comes_back_from_json_as_it_was() -> None:
    for one in (
        heat(1, {"model": 0.8}),
        Heat("sparse", 2, {}, {}, {}, ("no Envoy",), drawn=("x",)),
    ):
        assert Heat.of_json(json.loads(json.dumps(one.to_json(), allow_nan=False))) == one
