"""Levels of decisions, held to the best policy of a process with four states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.strategies import (
    FAMILIES,
    FIRST_SEED,
    HINDSIGHT,
    LEARNED,
    MARKS,
    PAGE,
    RESULT,
    SEEDS,
    Row,
    document,
    held_out,
    table,
    verdict,
)
from benchmarks.strategies import (
    TRAINED as SCENARIOS,
)
from controlplane.errors import WeirError
from controlplane.model.features import FEATURES
from policies.agents.hierarchy import HierarchyLearner, InForce, StrategyVecEnv, Upper, moves_of
from policies.agents.registry import algorithm
from policies.agents.settings import Hierarchy
from policies.env.draw import Draw
from policies.env.episodes import GROUPS
from policies.env.paired import Paired
from policies.env.strategy import STRATEGIES, FewOrMany, Strategy, times_s
from policies.training import checkpoint
from policies.training.scoring import score_of
from policies.training.toy import LESSONS
from policies.training.train import TRAINED, train
from policies.training.upper import upper_levels
from tests.learning.short_runs import short

pytestmark = pytest.mark.learning

DISCOUNT = 0.8


def test_one_group_is_best_where_one_envoy_sees_all_and_classes_where_many_see_nothing() -> None:
    (few_classes, few_one), (many_classes, many_one) = times_s()
    assert few_one < few_classes
    assert many_classes < many_one


def played(upper: Upper, slots: int = 24) -> list[list[int]]:
    """What it chooses at each step of an episode of the toy."""
    episodes = FewOrMany().episodes(slots, 7)
    in_force, ended, chosen = InForce(slots, len(upper.strategies)), False, []
    table = episodes.reset()
    while not ended:
        actions = upper.choose(in_force.told(table, episodes.context))
        in_force.change(actions)
        episodes.arrange(in_force.chosen)
        table, _, ended = episodes.step(np.zeros((slots, GROUPS)))
        chosen.append(actions.tolist())
    return chosen


@pytest.mark.parametrize("low_part", [0.0, 0.5])
def test_the_upper_levels_are_in_the_folder_of_the_run_and_choose_as_before(
    tmp_path: Path, low_part: float
) -> None:
    lesson = short("hierarchy")
    assert isinstance(lesson.settings, Hierarchy)
    recipe = replace(lesson, settings=replace(lesson.settings, low_part=low_part))
    learner = algorithm("hierarchy").learner(recipe.settings, recipe.world, recipe.seed)
    assert isinstance(learner, HierarchyLearner)
    assert learner.beside() == {}, "there are none yet"
    learner.learn(recipe.steps, lambda *_: None)
    train(recipe, logs=tmp_path / "run")
    upper = upper_levels(tmp_path / "run")
    assert [one.name for one in upper.strategies] == ["classes", "one group"]
    chosen = played(upper)
    first = FewOrMany().episodes(24, 7).reset()
    seen = InForce(24, 2).told(first, np.zeros((24, 0), np.float32))
    assert chosen[0] == learner.high.predict(seen, deterministic=True)[0].tolist()
    ours, theirs = upper.worth.state_dict(), learner.high.q_net.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    tables = np.random.default_rng(1).normal(size=(5, GROUPS, len(FEATURES))).astype(np.float32)
    below = learner.actor() if low_part else None
    assert moves_of(upper.low, tables).tolist() == moves_of(below, tables).tolist()
    train(recipe, logs=tmp_path / "run", resume=True)  # has ended: not run again
    assert played(upper_levels(tmp_path / "run")) == chosen


def test_a_run_without_upper_levels_of_this_version_is_refused(tmp_path: Path) -> None:
    train(replace(short("ppo"), steps=80), logs=tmp_path / "flat")
    with pytest.raises(WeirError, match=r"trained\.npz has no upper levels: wanted .* `hierarchy`"):
        upper_levels(tmp_path / "flat")
    train(short("hierarchy"), logs=tmp_path / "run")
    tree = checkpoint.load(tmp_path / "run" / TRAINED)
    tree["beside"]["upper"]["strategies"][0] = "by the moon"
    checkpoint.save(tmp_path / "run" / TRAINED, tree)
    with pytest.raises(WeirError, match="of this version: 'by the moon'"):
        upper_levels(tmp_path / "run")


def test_what_costs_too_much_is_never_changed() -> None:
    world = FewOrMany()
    assert world.best(0.0, DISCOUNT).tolist() == [[1, 1], [0, 0]]
    assert world.best(1.0, DISCOUNT).tolist() == [[1, 1], [0, 0]]
    assert world.best(100.0, DISCOUNT).tolist() == [[0, 1], [0, 1]]
    # Where the number of Envoys is another at every look, waiting is as good as changing.
    assert FewOrMany(change=0.5).best(8.0, DISCOUNT).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("cost", [1.0, 30.0])
def test_the_upper_levels_find_the_best_policy(cost: float) -> None:
    lesson = LESSONS["hierarchy"]
    assert isinstance(lesson.settings, Hierarchy)
    settings = replace(lesson.settings, switch_cost=cost)
    learner = algorithm("hierarchy").learner(settings, lesson.world, 1)
    losses: list[str] = []
    learner.log_to(lambda _, told: losses.extend(told))
    learner.learn(lesson.steps, lambda *_: None)
    assert score_of(learner, lesson.world) >= lesson.least
    assert "above/loss" in losses


def alone(family: str) -> dict[str, tuple[float, int]]:
    """Of each strategy from the first second to the last: mean latency and requests."""
    draw = Draw(families={family: 1.0}, endpoints=(8,), proxies=(8,), duration_s=25.0)
    count = len(STRATEGIES)
    paired = Paired(draw, slots=count, seed=2, copies=count)
    paired.reset()
    for _ in range(draw.steps):
        paired.arrange(np.arange(count))
        paired.step(np.zeros((count, GROUPS)))
    assert paired.ratios()[0] == 1.0, "the first is what the base does"
    ours = [one for one, _ in paired.episodes]
    return {
        one.name: (felt.mean_s, felt.requests) for one, felt in zip(STRATEGIES, ours, strict=True)
    }


def test_every_strategy_acts_in_the_simulator() -> None:
    felt = alone("hardware_4x")
    assert felt.pop("between regions") == felt["classes"], "there is one region"
    assert len({mean for mean, _ in felt.values()}) == len(STRATEGIES) - 1
    assert len({requests for _, requests in felt.values()}) == 1


def test_between_regions_requests_wait_less_for_ways() -> None:
    felt = alone("two_regions")
    assert felt["between regions"][0] < 0.95 * felt["classes"][0]


def test_the_upper_levels_are_told_where_there_are_regions() -> None:
    toy = StrategyVecEnv(FewOrMany().episodes(2, 1), None, 0.0)
    assert toy.reset()["now"].tolist() == [[1.0, 0.0, 0.0]] * 2
    for family, told in (("two_regions", 1.0), ("homogeneous", 0.0)):
        draw = Draw(families={family: 1.0}, endpoints=(4,), proxies=(2,), duration_s=3.0)
        env = StrategyVecEnv(Paired(draw, slots=1, seed=1), None, 0.0)
        now = env.reset()["now"]
        assert now.shape[1:] == env.observation_space["now"].shape
        assert now[0, -1] == told


@pytest.mark.parametrize(
    "wrong",
    [
        {"every_s": 0},
        {"bias": -1.0},
        {"between_regions": True, "one_group": True},
        {"between_regions": True, "every_s": 5},
    ],
)
def test_a_strategy_that_cannot_be_played_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="strategy odd"):
        Strategy("odd", **wrong)


def test_strategies_have_names_of_their_own_and_begin_with_the_default() -> None:
    assert STRATEGIES[0] == Strategy("classes")
    assert len({one.name for one in STRATEGIES}) == len({*STRATEGIES}) == len(STRATEGIES)


# --- what the benchmark says --------------------------------------------------------------------


def row(service: str, learned: Sequence[float], fixed: float) -> Row:
    """Logarithms of ratios to the default: of each seed of training, of all other strategies."""
    names = [LEARNED.format(seed) for seed in SEEDS]
    mean = {one.name: fixed for one in STRATEGIES} | {STRATEGIES[0].name: 0.0}
    mean |= dict(zip(names, learned, strict=True))
    return Row(service, mean, mean, {name: [0.25, 0.75] + [0.0] * 5 for name in names})


def test_a_verdict_goes_by_its_interval() -> None:
    services = [f"{family}/{seed}" for family in FAMILIES for seed in range(4)]
    better = document([row(one, (-0.2, -0.2, 0.1), 0.1) for one in services], 10)
    assert "beside the served default wins in the mean (0.905 [0.905, 0.905])" in verdict(better)
    assert "best strategy alone" not in verdict(better), "that is the default"
    assert "alone 2 of 3 win against the default in the mean, and 2 in p99" in verdict(better)
    worse = document([row(one, (0.0, 0.1, 0.2), -0.1) for one in services], 10)
    assert "beside the served default loses in the mean" in verdict(worse)
    assert "beside the best strategy alone, `classes, every 5 s`, loses" in verdict(worse)
    luck = np.random.default_rng(1).normal(0.0, 0.2, len(services))
    unsure = [row(one, (by, by, by), 0.3) for one, by in zip(services, luck, strict=True)]
    assert "beside the served default cannot be told from it" in verdict(document(unsure, 10))
    assert worse["ratios"]["all"][HINDSIGHT]["mean"][0] == pytest.approx(np.exp(-0.1), abs=1e-4)
    assert worse["chosen"]["all"][:2] == [0.25, 0.75]


def test_the_page_says_what_was_measured() -> None:
    found = json.loads(RESULT.read_text())
    said = PAGE.read_text().split(MARKS[0])[1].split(MARKS[1])[0]
    assert said.strip() == f"{verdict(found)}\n\n{table(found)}"


def test_cases_that_are_held_out_are_of_no_family_and_seed_of_training() -> None:
    assert not set(FAMILIES) & set(SCENARIOS.families)
    assert SCENARIOS.seeds[1] <= FIRST_SEED
    cases = held_out(FAMILIES[0], 6)
    assert len({(len(case.stations), case.traffic.rate_rps) for case, _ in cases}) == 6
