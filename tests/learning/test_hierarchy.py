"""Levels of decisions, held to the best policy of a process with four states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from policies.agents.hierarchy import StrategyVecEnv
from policies.agents.registry import algorithm
from policies.agents.settings import Hierarchy
from policies.env.draw import Draw
from policies.env.episodes import GROUPS
from policies.env.paired import Paired
from policies.env.strategy import STRATEGIES, FewOrMany, Strategy, times_s
from policies.training.scoring import score_of
from policies.training.toy import LESSONS

pytestmark = pytest.mark.learning

DISCOUNT = 0.8


def test_one_group_is_best_where_one_envoy_sees_all_and_classes_where_many_see_nothing() -> None:
    (few_classes, few_one), (many_classes, many_one) = times_s()
    assert few_one < few_classes
    assert many_classes < many_one


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
