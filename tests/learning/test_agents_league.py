"""The pages of the algorithms, and what is said of them in the league."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.agents_league import (
    MARKS,
    OTHERS,
    PAGES,
    RESULT,
    STEPS,
    learned,
    line,
    recipes,
    report,
    run_of,
    table,
    verdict,
)
from policies.agents.registry import ALGORITHMS
from policies.training.train import train
from tests.learning.short_runs import short

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


def played(told: dict[str, Any], name: str = "sac") -> dict[str, Any]:
    return {
        "commit": "0123456789abcdef+",
        "released": {"digest": "sha256:00", "commit": "fedcba9876543210"},
        "cases": 104,
        "families": 26,
        "loads": [0.7, 0.85],
        "sizes": [[8, 4]],
        "seeds": 1,
        "first_seed": 2_000_000,
        "training": {name: told},
        "ratios": {
            name: dict.fromkeys(OTHERS, ratio(HIGHER, EITHER)),
            "learned": dict.fromkeys(OTHERS, ratio(LOWER, LOWER)),
        },
    }


TOLD = {"steps": 9_984, "kept": 2_496, "learned": True, "seconds": 60}


def test_what_is_said_on_a_page_is_what_was_played() -> None:
    result = played(TOLD)
    words = line("sac", result)
    assert words.startswith("It does not win: it is worse than its base.")
    assert "1.030 [1.010, 1.050]" in words
    assert "(60 s on a busy core; the policy at step 2,496 was the best" in words
    assert "(the policy at step" in line("sac", played(TOLD | {"seconds": None}))
    rows = table(result).splitlines()
    assert "the released policy" in rows[2]
    assert "[sac](sac.md)" in rows[3]
    assert "| loses |" in rows[3]
    assert "commit `0123456789ab+`" in rows[-1]
    assert "commit `fedcba987654`" in rows[-1]


@pytest.mark.parametrize(
    ("name", "cell", "words"),
    [
        ("sac", "had not learned yet", "It had not learned yet"),
        ("offline", "keeps its base", "What it learned is not shown to be better"),
    ],
)
def test_a_network_that_never_changed_gets_no_verdict(name: str, cell: str, words: str) -> None:
    result = played(TOLD | {"learned": False}, name)
    row = next(one for one in table(result).splitlines() if f"[{name}]" in one)
    assert f"| {cell} |" in row
    assert "loses" not in row
    said = line(name, result)
    assert said.startswith(words)
    assert "win" not in said
    assert "the best on validation" not in said


def test_what_is_played_has_learned_whenever_it_was_the_best() -> None:
    """Also where no check after the first is better than that of the network of the beginning."""
    one = short("ppo")
    rollout = one.settings.slots * one.world.steps
    once = replace(one, steps=rollout, check_every=1)
    done = train(once, first_counts=False)
    assert [point.ratio is None for point in done.curve] == [True, False]
    assert learned(once, done.actor)
    idle = replace(once, settings=replace(once.settings, learning_rate=0.0))
    assert not learned(idle, train(idle, first_counts=False).actor)


def test_every_algorithm_learns_often_in_the_steps_that_it_has() -> None:
    for name, recipe in recipes().items():
        settings: Any = recipe.settings
        rollout = settings.slots * recipe.world.steps
        if name in ("maml", "reptile"):  # several tasks at once, and MAML plays each twice
            rollout *= settings.tasks * (2 if name == "maml" else 1)
        assert STEPS % rollout == 0
        assert STEPS // rollout >= 10


def test_other_steps_or_settings_are_another_run(tmp_path: Path) -> None:
    one = recipes()["sac"]
    faster = replace(one, settings=replace(one.settings, learning_rate=0.1))
    runs = {run_of(recipe, tmp_path) for recipe in (one, replace(one, steps=9_984), faster)}
    assert len(runs) == 3
    assert run_of(one, tmp_path) in runs


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
