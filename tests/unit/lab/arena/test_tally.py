from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from controlplane.errors import ConfigurationError
from controlplane.lab.arena.contestants import REFERENCE
from controlplane.lab.arena.document import document, read_heats, write
from controlplane.lab.arena.results import Heat
from controlplane.lab.arena.table import markdown, require_markers, stock_of, write_between
from controlplane.lab.arena.tally import _T, _T_MANY, Tally, over_seeds
from tests.unit.lab.arena.made import heat, ratios


def tally(*heats: Heat) -> Tally:
    return Tally(heats, REFERENCE)


def test_students_t_is_that_of_scipy() -> None:
    assert pytest.approx(stats.t.ppf(0.975, range(1, len(_T) + 1)), abs=6e-4) == _T
    assert stats.t.ppf(0.975, len(_T) + 1) <= _T_MANY  # for all more: rather too wide


def test_the_interval_is_that_of_scipy() -> None:
    logs = [-0.21, -0.18, -0.25, -0.19]
    low, high = stats.t.interval(0.95, 3, np.mean(logs), stats.sem(logs))
    found = over_seeds(logs)
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)), abs=2e-3)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(600):
        found = over_seeds(np.log(ratios(0.8, 0.05, 3, rng)).tolist())
        held += found.low <= 0.8 <= found.high
    assert 0.93 <= held / 600 <= 0.97


def test_a_heat_that_does_not_count_changes_nothing() -> None:
    good = [heat(seed, {"learned": 0.8 + 0.01 * seed}) for seed in (1, 2, 3)]
    late = heat(4, {"learned": 0.1}, reasons=("the generator was too busy",))
    assert tally(*good, late).standing("hardware-4x", "learned") == tally(*good).standing(
        "hardware-4x", "learned"
    )
    assert document([*good, late], {})["not_valid"] == 1
    assert tally(late).standing("hardware-4x", "learned") is None


def test_lanes_that_never_met_are_compared_by_way_of_the_reference() -> None:
    heats = [heat(s, {"model": 0.8}) for s in (1, 2)] + [heat(s, {"cswrr": 1.6}) for s in (1, 2)]
    found = tally(*heats).against("hardware-4x", "model", "cswrr", "mean")
    assert found is not None
    assert found.value == pytest.approx(0.5)


def test_the_best_stock_lane_is_chosen_in_hindsight_and_may_be_the_reference() -> None:
    one = tally(heat(1, {"least_request": 1.2, "cswrr": 0.9, "model": 0.7}))
    two = tally(heat(1, {"least_request": 1.2, "cswrr": 1.1, "model": 0.7}))
    assert one.best("hardware-4x", stock_of(one.lanes)) == "cswrr"
    assert two.best("hardware-4x", stock_of(two.lanes)) == REFERENCE


def test_who_is_fast_by_failing_is_not_the_best_stock_lane() -> None:
    def failing(errors: int, best: str) -> None:
        fast = heat(1, {"cswrr": 0.3}, errors=errors)
        slow = heat(1, {"least_request": 0.9})
        found = tally(fast, slow)
        assert found.best("hardware-4x", stock_of(found.lanes)) == best

    failing(400, "least_request")
    failing(6, "least_request")  # of 1,000
    failing(5, "cswrr")
    # Where both fail alike the faster is the better one; the reference here fails nothing.
    alike = tally(heat(1, {"cswrr": 0.3, "least_request": 0.9}, errors=400))
    assert alike.best("hardware-4x", ["cswrr", "least_request"]) == "cswrr"
    assert alike.best("hardware-4x", stock_of(alike.lanes)) == REFERENCE


def test_with_one_seed_the_interval_is_that_of_the_heat_and_nothing_is_bold() -> None:
    one = tally(heat(1, {"learned": 0.5}))
    standing = one.standing("hardware-4x", "learned")
    assert standing is not None
    assert standing.mean is not None
    assert (standing.mean.low, standing.mean.high) == (0.45, 0.55)
    assert "**0" not in markdown(one, "")
    assert one.overall("learned", "mean") is None


def test_over_all_scenarios_each_counts_alike() -> None:
    heats = [heat(s, {"model": 0.5}, scenario="homogeneous") for s in (1, 2)]
    heats += [heat(s, {"model": 2.0}, scenario="sparse") for s in (1, 2)]
    found = tally(*heats).overall("model", "p99")
    assert found is not None
    assert found.value == pytest.approx(1.0)


def test_the_reference_is_compared_with_itself_where_it_played_twice() -> None:
    heats = [heat(1, {"model": 0.8}, base_ms=100.0), heat(1, {"cswrr": 1.2}, base_ms=104.0)]
    assert tally(*heats).repeats()["mean_most"] == pytest.approx(0.04)
    assert tally(heats[0]).repeats() == {}


def test_errors_stand_beside_a_latency_that_is_low_because_of_them() -> None:
    table = markdown(tally(*(heat(s, {"cswrr": 0.3}, errors=400) for s in (1, 2))), "")
    assert "**0.30** / **0.30** (40.0 % errors)" in table


def test_harm_is_said() -> None:
    found = document([heat(s, {"learned": 1.04, "model": 1.02}) for s in (1, 2)], {})
    verdicts = found["scenarios"]["hardware-4x"]["verdicts"]
    assert verdicts["learned"]["harm"] == ["mean"]
    assert verdicts["model"]["harm"] == []


def test_a_document_gives_its_valid_heats_again(tmp_path: Path) -> None:
    heats = [heat(1, {"model": 0.8}), heat(2, {"model": 0.9}, reasons=("busy",))]
    path = tmp_path / "arena.json"
    settings = {"duration_s": 60.0, "scenarios": {heats[0].scenario: "0123"}}
    write(path, heats, settings)
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert read_heats(path, settings) == heats[:1]
    with pytest.raises(ConfigurationError, match="other settings"):
        read_heats(path, {**settings, "duration_s": 10.0})
    path.write_text("[]")
    with pytest.raises(ConfigurationError, match="not a result"):
        read_heats(path, settings)
    assert read_heats(tmp_path / "none.json", {}) == []


def test_the_table_goes_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- arena-table -->\nold\n<!-- /arena-table -->\nafter\n")
    write_between(path, "new\n")
    assert path.read_text() == ("before\n<!-- arena-table -->\nnew\n<!-- /arena-table -->\nafter\n")
    path.write_text("no place")
    with pytest.raises(ConfigurationError, match="put them where"):
        require_markers(path)
