from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.guard.bounds import feasible, limits, project
from controlplane.model import GuardSettings
from controlplane.model.observation import Floats
from tests.unit.guard.cases import each, grouped, service


def test_the_limits_of_an_endpoint_are_a_fifth_and_three_times_its_capacity_share() -> None:
    low, high = limits(np.full(10, 0.1), each(service(10)), GuardSettings())
    assert low == pytest.approx(0.02)
    assert high == pytest.approx(0.3)


def test_no_endpoint_gets_more_than_half_unless_its_capacity_says_so() -> None:
    of = each(service(4))
    assert limits(np.full(4, 0.25), of, GuardSettings())[1] == pytest.approx(0.5)
    high = limits(np.array([0.7, 0.1, 0.1, 0.1]), of, GuardSettings())[1]
    assert high == pytest.approx([0.7, 0.3, 0.3, 0.3])


def test_one_endpoint_has_no_choice_and_two_have_nine_tenths() -> None:
    assert limits(np.ones(1), each(service(1)), GuardSettings())[0] == pytest.approx(1.0)
    low, high = limits(np.full(2, 0.5), each(service(2)), GuardSettings())
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.9)


def test_a_group_has_the_sum_of_the_limits_of_its_endpoints() -> None:
    of = service(4)
    low, high = limits(np.full(4, 0.25), grouped(of, 0, 0, 0, 1), GuardSettings())
    assert low == pytest.approx([0.15, 0.05])
    assert high == pytest.approx([1.0, 0.5])


def bisected(wanted: Floats, low: Floats, high: Floats, sizes: Floats) -> Floats:
    """The naive twin: the same projection by halving the range of t two hundred times."""
    left, right = -1e9, 1e9
    for _ in range(200):
        t = (left + right) / 2
        if np.clip(wanted - t * sizes, low, high).sum() > 1.0:
            left = t
        else:
            right = t
    return np.clip(wanted - right * sizes, low, high)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.booleans())
def test_the_projection_is_the_one_that_halving_finds(n: int, seed: int, hot: bool) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.dirichlet(np.full(n, rng.uniform(0.1, 5.0)))
    low, high = inside * rng.uniform(0, 1, n), inside + (1 - inside) * rng.uniform(0, 1, n)
    wanted = np.eye(n)[0] if hot else rng.dirichlet(np.full(n, 0.3))
    sizes = rng.integers(1, 9, n).astype(np.float64)
    found = project(wanted, low, high, sizes)
    assert found.sum() == pytest.approx(1.0, abs=1e-9)
    assert (found >= low - 1e-12).all()
    assert (found <= high + 1e-12).all()
    assert found == pytest.approx(bisected(wanted, low, high, sizes), abs=1e-7)


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_no_other_split_within_the_limits_is_nearer(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.dirichlet(np.full(n, 2.0))
    low, high = inside * 0.3, np.minimum(1.0, inside * 2.0)
    wanted, sizes = rng.dirichlet(np.full(n, 0.3)), rng.integers(1, 9, n).astype(np.float64)
    found = project(wanted, low, high, sizes)
    for other in (inside, project(rng.dirichlet(np.ones(n)), low, high, np.ones(n))):
        there, here = ((other - wanted) ** 2 / sizes).sum(), ((found - wanted) ** 2 / sizes).sum()
        assert here <= there + 1e-9


def test_soft_ceilings_give_way_just_so_far_that_the_traffic_fits() -> None:
    soft, hard = np.array([0.2, 0.2]), np.array([0.9, 0.9])
    assert feasible(soft, hard).sum() == pytest.approx(1.0)
    assert feasible(np.array([0.6, 0.6]), hard) == pytest.approx([0.6, 0.6])
