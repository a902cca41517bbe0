"""The benchmark of lessons: who plays whom, and that its page shows what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.curriculum import LESSON, MARKS, PAGE, PLAIN, RESULT, document, runs_of, table
from policies.agents.settings import Ppo
from policies.league.suite import RELEASE_SEEDS, Suite
from policies.training.recipe import FOLDER, load

pytestmark = pytest.mark.learning


def test_the_same_seeds_learn_with_lessons_and_without_and_play_the_same_cases(
    tmp_path: Path,
) -> None:
    recipe = load(FOLDER / "residual-ppo.yaml")
    assert isinstance(recipe.settings, Ppo)
    small = replace(recipe.settings, slots=8, copies=4, batch=52)
    recipe = replace(recipe, steps=624, seeds=(1, 2), check_cases=8, settings=small)
    runs = runs_of(recipe, tmp_path)
    assert [run.recipe.curriculum != () for run in runs[LESSON]] == [True, True]
    assert [one.recipe.seed for one in runs[PLAIN]] == [1, 2]
    suite = Suite(("sparse", "bursty"), (0.7,), ((8, 4),), seeds=1, first_seed=RELEASE_SEEDS)
    found = document(runs, tmp_path, suite)
    assert found["cases"] == 2
    # Ratios of ratios: lessons to plain is lessons to `model` over plain to `model`.
    for i, beside in enumerate(found["lessons to all at once"]["seeds"]):
        ours, plain = (found["to model"][way][i]["mean"][0] for way in (LESSON, PLAIN))
        assert beside["mean"][0] == pytest.approx(ours / plain, abs=2e-4)
    assert "| all | | | " in table({"commit": "0" * 40, **found})


def test_the_page_shows_what_was_measured() -> None:
    result = json.loads(RESULT.read_text())
    shown = PAGE.read_text().partition(MARKS[0] + "\n")[2].partition(MARKS[1])[0]
    assert shown == table(result) + "\n"
