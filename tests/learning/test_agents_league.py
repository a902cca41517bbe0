"""The pages of the algorithms, and what is said of them in the league."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.agents_league import (
    MARKS,
    OTHERS,
    PAGES,
    RESULT,
    line,
    recipes,
    report,
    table,
    verdict,
)
from policies.agents.registry import ALGORITHMS

PARTS = ("## Equations and source", "## Hyperparameters", "## On the toy", "## In the league")


def ratio(mean: tuple[float, float, float], p99: tuple[float, float, float]) -> dict[str, Any]:
    return {"mean": list(mean), "p99": list(p99)}


LOWER, HIGHER, EITHER = (0.97, 0.95, 0.99), (1.03, 1.01, 1.05), (1.0, 0.98, 1.02)


@pytest.mark.parametrize(
    ("mean", "p99", "said"),
    [
        (LOWER, LOWER, "wins in mean and p99"),
        (LOWER, EITHER, "wins in mean"),
        (LOWER, HIGHER, "loses"),
        (HIGHER, LOWER, "loses"),
        (EITHER, LOWER, "wins in p99"),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), "not told apart"),
    ],
)
def test_an_algorithm_wins_where_its_interval_says_so(mean: Any, p99: Any, said: str) -> None:  # noqa: ANN401
    assert verdict(ratio(mean, p99)) == said


def test_what_is_said_on_a_page_is_what_was_played() -> None:
    told = {"steps": 9_984, "kept": 2_496, "first": False, "seconds": 60}
    result = {
        "commit": "0123456789abcdef",
        "released": "fedcba9876543210",
        "cases": 104,
        "families": 26,
        "loads": [0.7, 0.85],
        "sizes": [[8, 4]],
        "seeds": 1,
        "first_seed": 2_000_000,
        "training": {"sac": told},
        "ratios": {
            "sac": dict.fromkeys(OTHERS, ratio(HIGHER, EITHER)),
            "learned": dict.fromkeys(OTHERS, ratio(LOWER, LOWER)),
        },
    }
    words = line("sac", result)
    assert words.startswith("It does not win: it is worse than its base.")
    assert "1.030 [1.010, 1.050]" in words
    assert "step 2,496" in words
    assert "first rollout" not in words
    rows = table(result).splitlines()
    assert "the released policy" in rows[2]
    assert "[sac](sac.md)" in rows[3]


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_every_algorithm_has_a_recipe_and_a_page_with_its_parts(name: str) -> None:
    assert name in recipes()
    page = (PAGES / f"{name}.md").read_text()
    for part in (*PARTS, *MARKS):
        assert part in page
    assert f"]({name}.png)" in page
    assert f"]({name}.md)" in (PAGES / "README.md").read_text()


def test_pages_and_report_are_made_from_what_is_kept() -> None:
    result = json.loads(RESULT.with_suffix(".json").read_text())
    assert RESULT.with_suffix(".md").read_text() == report(result)
    assert table(result) in (PAGES / "README.md").read_text()
    for name in result["training"]:
        assert line(name, result) in (PAGES / f"{name}.md").read_text()
