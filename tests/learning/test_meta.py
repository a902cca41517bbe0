"""Learning to learn: gradients by finite differences, and the published check."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.agents.meta import Parameters, adapted, maml_slope, reptile_slope
from policies.agents.meta_policy import MetaLearner
from policies.agents.registry import algorithm
from policies.env.families import Family, Sinusoids, Stations
from policies.training.few_shot import Course, Meta
from policies.training.toy import LESSONS

pytestmark = pytest.mark.learning

Data = tuple[torch.Tensor, torch.Tensor]


def cubic(parameters: Parameters, data: Data) -> torch.Tensor:
    """A loss whose second derivatives are not constant."""
    x, y = data
    said = parameters["a"] * x**2 + torch.tanh(parameters["b"] * x)
    return ((said - y) ** 2).mean()


def some(seed: int) -> tuple[Parameters, Data, Data]:
    random = torch.Generator().manual_seed(seed)

    def drawn() -> torch.Tensor:
        return torch.randn(3, 5, generator=random, dtype=torch.float64)

    start = {"a": torch.tensor(0.3, dtype=torch.float64), "b": torch.tensor(-0.7).double()}
    return start, (drawn(), drawn()), (drawn(), drawn())


def test_the_second_order_gradient_is_that_of_finite_differences() -> None:
    start, support, query = some(0)

    def after(now: Parameters) -> float:
        losses = []
        for task in range(3):
            first, second = ((x[task], y[task]) for x, y in (support, query))
            losses.append(cubic(adapted(cubic, now, first, rate=0.1, steps=3, order=1), second))
        return float(torch.stack(losses).mean())

    slope = maml_slope(cubic, start, support, query, rate=0.1, steps=3)
    for name in start:
        up, down = ({**start, name: start[name] + sign * 1e-6} for sign in (1, -1))
        assert float(slope[name]) == pytest.approx((after(up) - after(down)) / 2e-6, rel=1e-5)


def test_the_first_order_gradient_is_that_at_the_adapted_parameters() -> None:
    start, support, query = some(1)
    slope = maml_slope(cubic, start, support, query, rate=0.1, steps=2, order=1)
    wanted = dict.fromkeys(start, 0.0)
    for task in range(3):
        first, second = ((x[task], y[task]) for x, y in (support, query))
        there = adapted(cubic, start, first, rate=0.1, steps=2, order=1)
        leaves = {name: one.detach().requires_grad_() for name, one in there.items()}
        cubic(leaves, second).backward()
        wanted = {name: wanted[name] + float(one.grad) / 3 for name, one in leaves.items()}
    second_order = maml_slope(cubic, start, support, query, rate=0.1, steps=2)
    for name in start:
        assert float(slope[name]) == pytest.approx(wanted[name])
        assert float(slope[name]) != pytest.approx(float(second_order[name]), rel=1e-3)


def test_reptile_with_one_step_is_joint_training() -> None:
    """Nichol et al. 2018, section 4: with one step it descends the mean loss."""
    start, support, _ = some(2)
    back = reptile_slope(cubic, start, support, rate=0.05, steps=1)
    joint = maml_slope(cubic, start, support, support, rate=0.05, steps=0)
    for name in start:
        assert float(back[name]) == pytest.approx(0.05 * float(joint[name]))


@pytest.mark.parametrize(
    ("family", "course"),
    [(Sinusoids(), Course(iterations=400)), (Stations(), Course(iterations=200, inner_rate=0.05))],
)
def test_few_shots_do_what_fine_tuning_cannot(family: Family, course: Course) -> None:
    """Finn et al. 2017, figure 2, cut short: MAML adapts, joint training and chance do not."""
    error = {}
    for way in ("maml", "joint", "scratch"):
        meta = Meta(family, course)
        error[way] = meta.errors(meta.trained(way), steps=10)[-1]
    assert error["maml"] < 0.6 * error["joint"] < error["scratch"]


def test_a_policy_that_was_adapted_is_better_at_its_task() -> None:
    lesson = LESSONS["maml"]
    learner = algorithm("maml").learner(lesson.settings, lesson.world, 1)
    assert isinstance(learner, MetaLearner)
    learner.learn(10_240, lambda *_: None)
    task = lesson.world.tasks()[0]
    after = learner.adapted_to(task.episodes(64, 5, 8), 8)

    def mean(parameters: Parameters) -> float:
        returns = [learner.play(task.episodes(64, 6, 8), parameters)[1] for _ in range(3)]
        return float(np.mean(returns))

    assert mean(after) > mean(learner.start)
