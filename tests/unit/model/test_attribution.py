"""Integrated gradients have the properties that make them what they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import NotExplainableError
from controlplane.model.attribution import (
    CLOSE,
    MOST_CELLS,
    Answers,
    Table,
    alike,
    integrated_gradients,
)
from controlplane.model.observation import Floats


def table(groups: int, features: int, seed: int = 1) -> Table:
    random = np.random.default_rng(seed)
    return random.normal(size=(groups, features)).astype(np.float32)


def test_of_a_linear_answer_each_feature_gets_its_coefficient_times_its_difference() -> None:
    seen, slopes = table(3, 5), np.array([2.0, -1.0, 0.0, 0.5, 3.0])
    found = integrated_gradients(lambda x: x @ slopes, seen, np.zeros_like(seen))
    assert np.allclose(found.effects, seen * slopes, atol=1e-4)
    assert np.abs(found.unexplained).max() < 1e-4


def test_a_product_is_shared_out_in_halves() -> None:
    """Symmetry: along the line from 0 both factors grow alike, so both gradients do."""
    seen = np.array([[3.0, -2.0]], np.float32)
    found = integrated_gradients(lambda x: x[..., 0] * x[..., 1], seen, np.zeros_like(seen))
    assert np.allclose(found.effects, [[-3.0, -3.0]], atol=1e-4)


def test_a_power_gets_by_its_degree() -> None:
    """x y^2 from 0 to (1, 1): the integrals of t^2 and 2 t^2 are 1/3 and 2/3."""
    seen = np.ones((1, 2), np.float32)
    found = integrated_gradients(lambda x: x[..., 0] * x[..., 1] ** 2, seen, np.zeros_like(seen))
    assert np.allclose(found.effects, [[1 / 3, 2 / 3]], atol=1e-4)


def beside_the_largest(x: Table) -> Floats:
    """Curved, with kinks, and each group sees the others."""
    own = np.tanh(x[..., 0] + 0.5 * x[..., 1] * x[..., 2])
    return np.asarray(own - np.abs(x[..., 1]).max(axis=-1, keepdims=True), np.float64)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_effects_sum_to_the_answer_and_what_makes_no_difference_gets_nothing(
    seed: int, groups: int
) -> None:
    seen = table(groups, 5, seed)
    seen[:, 3] = 2.0  # the same at the baseline; feature 4 differs and is not looked at
    found = integrated_gradients(beside_the_largest, seen, alike(seen))
    wanted = beside_the_largest(seen) - beside_the_largest(alike(seen))
    assert np.allclose(found.answer, wanted)
    assert found.points == 128 or np.abs(found.unexplained).max() <= CLOSE
    assert np.abs(found.unexplained).max() <= 0.03
    assert not found.effects[:, 3:].any()


def test_a_kink_takes_more_points_of_the_path() -> None:
    seen = np.array([[1.0]], np.float32)

    def kinked(x: Table) -> Floats:
        return np.asarray(np.maximum(x[..., 0] - 0.37, 0.0), np.float64)

    def smooth(x: Table) -> Floats:
        return np.asarray(x[..., 0] ** 2, np.float64)

    zero = np.zeros_like(seen)
    assert integrated_gradients(smooth, seen, zero).points == 8
    rough = integrated_gradients(kinked, seen, zero)
    assert rough.points > 8
    assert abs(rough.unexplained[0]) < 0.01


def test_what_does_not_differ_from_the_baseline_is_asked_about_once() -> None:
    asked = []

    def answers(x: Table) -> Floats:
        asked.append(x.shape[0])
        return np.zeros(x.shape[:2])

    seen = np.ones((4, 7), np.float32)
    found = integrated_gradients(answers, seen, alike(seen))
    assert (sum(asked), found.points) == (2, 0)
    assert not found.effects.any()


@pytest.mark.parametrize("groups", [2, 300, 3000])
def test_one_explanation_asks_about_so_many_groups_and_no_more(groups: int) -> None:
    asked = 0

    def never_close(x: Table) -> Floats:
        nonlocal asked
        asked += x.shape[0] * x.shape[1]
        return np.where(x[..., 0] == x[0, :, 0], 0.0, 1e6 * np.abs(np.sin(1e3 * x[..., 0])))

    def explain(answers: Answers) -> None:
        seen = table(groups, 31)
        integrated_gradients(answers, seen, alike(seen))

    if groups == 3000:
        with pytest.raises(NotExplainableError, match="3000 groups are too many"):
            explain(never_close)
    else:
        explain(never_close)
    assert asked <= 2 * MOST_CELLS + 2 * groups


def test_answers_that_are_no_numbers_are_not_shared_out() -> None:
    seen = table(2, 3)
    with pytest.raises(NotExplainableError, match="no numbers"):
        integrated_gradients(lambda x: np.full(x.shape[:2], np.nan), seen, alike(seen))
