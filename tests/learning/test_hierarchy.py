"""Levels of decisions, held to the best policy of a process with four states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policies.agents.registry import algorithm
from policies.agents.settings import Hierarchy
from policies.env.draw import Draw
from policies.env.episodes import GROUPS
from policies.env.paired import Paired
from policies.env.strategy import STRATEGIES, FewOrMany, times_s
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


def test_every_strategy_acts_in_the_simulator() -> None:
    short = Draw(families={"hardware_4x": 1.0}, endpoints=(8,), proxies=(8,), duration_s=25.0)
    means = []
    for number in range(len(STRATEGIES)):
        paired = Paired(short, slots=1, seed=2)
        paired.reset()
        for _ in range(24):
            paired.arrange(np.array([number]))
            paired.step(np.full((1, GROUPS), 0.0))
        means.append(paired.episodes[0][0].mean_s)
        assert paired.episodes[0][0].requests == paired.episodes[0][1].requests
    assert len(set(means)) == len(STRATEGIES)
    assert paired.ratios()[0] != 1.0
