from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.guard.encode import encode, total_of
from tests.unit.guard.cases import each, grouped, service


def test_equal_shares_are_exactly_equal_integers_for_every_number_of_endpoints() -> None:
    for n in range(1, 200):
        shares = np.random.default_rng(n).uniform(1 - 1e-13, 1 + 1e-13, n) / n
        assert encode(shares, each(service(n))).by_group == (10_000,) * n


def test_the_even_share_of_an_endpoint_is_ten_thousand_in_groups_too() -> None:
    of = service(5)
    assert encode(np.array([0.6, 0.4]), grouped(of, 0, 0, 0, 1, 1)).by_group == (30_000, 20_000)


def test_the_remainder_goes_to_the_largest_fractions() -> None:
    quotas = np.array([9_999.4, 10_000.1, 10_000.5])
    assert encode(quotas / 30_000, each(service(3))).by_group == (9_999, 10_000, 10_001)


def test_a_share_of_nothing_is_still_one() -> None:
    weights = encode(np.array([1.0, 0.0, 0.0]), each(service(3))).by_group
    assert weights == (29_998, 1, 1)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.floats(0.01, 10.0))
def test_weights_are_within_a_unit_and_sum_to_the_total(n: int, seed: int, spread: float) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.full(n, spread))
    of = each(service(n))
    weights = np.array(encode(shares, of).by_group)
    assert weights.sum() == total_of(of)
    assert weights.min() >= 1
    lifted = np.count_nonzero(shares * total_of(of) < 1)
    assert np.abs(weights - shares * total_of(of)).max() <= 1 + lifted
    if not lifted:
        assert np.abs(weights - shares * total_of(of)).max() < 1


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_the_larger_share_never_has_the_smaller_weight(n: int, seed: int) -> None:
    shares = np.sort(np.random.default_rng(seed).dirichlet(np.ones(n)))
    weights = encode(shares, each(service(n))).by_group
    assert all(a <= b + 1 for a, b in itertools.pairwise(weights))


def test_the_sum_of_very_many_stays_within_what_clients_take() -> None:
    of = grouped(service(1), 0)
    assert total_of(of) == 10_000
    assert encode(np.array([1.0]), of).by_group == (10_000,)
    assert encode(np.array([]), each(service(0))).by_group == ()
