"""The bootstrap against published figures, Student's interval, scipy's, and its own promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from policies.league.intervals import RESAMPLES, intervals

pytestmark = pytest.mark.learning

MICE = np.array([94.0, 197.0, 16.0, 38.0, 99.0, 141.0, 23.0])
"""Survival of treated mice: Efron and Tibshirani, An Introduction to the Bootstrap, Table 2.1."""


def alone(values: np.ndarray, **options: bool) -> list[float]:
    """Of values that are a cluster each, in one stratum: mean, lower, upper."""
    names = [f"{i:06}" for i in range(len(values))]
    row: list[float] = intervals(values[:, None], names, [""] * len(values), **options)[0].tolist()
    return row


def test_the_published_interval_of_the_mice_comes_out() -> None:
    """Table 13.1 there: 45.9 to 135.4, each within 2 by chance, for it took 1,000 resamples."""
    mean, low, high = alone(MICE, expanded=False)
    assert mean == pytest.approx(86.86, abs=0.005)
    assert low == pytest.approx(45.9, abs=4.0)
    assert high == pytest.approx(135.4, abs=4.0)


@pytest.mark.parametrize(("n", "close"), [(6, 0.1), (12, 0.05), (40, 0.05)])
def test_for_values_like_normal_ones_it_is_students(n: int, close: float) -> None:
    values = stats.norm.ppf((np.arange(n) + 0.5) / n)
    _, low, high = alone(values)
    wanted = stats.t.interval(0.95, n - 1, loc=0.0, scale=values.std(ddof=1) / np.sqrt(n))
    assert [low, high] == pytest.approx(list(wanted), rel=close)
    narrow = alone(values, expanded=False)
    assert narrow[2] - narrow[1] < high - low


def test_of_many_clusters_it_is_scipys_percentile_interval() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=400)
    _, low, high = alone(values)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=RESAMPLES, rng=4
    ).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.05 * width)
    assert high == pytest.approx(theirs.high, abs=0.05 * width)


def test_it_holds_the_truth_as_often_as_it_says_and_cases_on_their_own_would_not() -> None:
    """Ten services of four loads, of which a service has most of the variance."""
    random = np.random.default_rng(5)
    services = [f"{i // 4}" for i in range(40)]
    cases = [f"{i}" for i in range(40)]
    by_service, by_case = 0, 0
    trials = 300
    for _ in range(trials):
        values = (random.normal(0.0, 0.2, (10, 1)) + random.normal(0.0, 0.05, (10, 4))).reshape(
            40, 1
        )
        for clusters in (services, cases):
            _, low, high = intervals(values, clusters, [""] * 40, resamples=400)[0]
            if clusters is services:
                by_service += low < 0.0 < high
            else:
                by_case += low < 0.0 < high
    # 95 %, give or take four standard errors of 300 trials; by case about 66 %.
    assert by_service / trials == pytest.approx(0.95, abs=0.05)
    assert by_case / trials < 0.8


def test_what_families_differ_by_is_not_counted_as_chance() -> None:
    """Stratified: the standard error is that of the mean of the families' means."""
    random = np.random.default_rng(6)
    noise = random.normal(0.0, 0.1, (3, 20))
    noise -= noise.mean(axis=1, keepdims=True)
    values = (noise + np.array([[-1.0], [0.0], [1.0]])).reshape(60, 1)
    services = [f"{i:02}" for i in range(60)]
    families = [f"{i // 20}" for i in range(60)]
    _, low, high = intervals(values, services, families)[0]
    error = np.sqrt(sum(row.var(ddof=1) / 20 for row in noise)) / 3.0
    assert high - low == pytest.approx(2.0 * stats.t.ppf(0.975, 57) * error, rel=0.06)
    _, below, above = intervals(values, services, [""] * 60)[0]
    assert above - below > 5.0 * (high - low)


def test_columns_meet_the_same_resamples_and_a_call_is_repeated_to_the_last_bit() -> None:
    values = np.random.default_rng(7).normal(size=(20, 1))
    services = [f"{i}" for i in range(20)]
    once = intervals(np.hstack([values, 2.0 * values]), services, [""] * 20)
    assert np.allclose(once[1], 2.0 * once[0])
    again = intervals(np.hstack([values, 2.0 * values]), services, [""] * 20)
    assert np.array_equal(once, again)


def test_one_service_tells_nothing_of_how_services_differ() -> None:
    mean, low, high = intervals(np.ones((3, 1)), ["a"] * 3, [""] * 3)[0]
    assert mean == 1.0
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("families", [["x", "y"], ["x", "x", "x", "y"], ["x", "y", "z", "z"]])
def test_families_of_one_service_are_not_taken_for_certain(families: list[str]) -> None:
    values = np.linspace(-1.0, 1.0, len(families))[:, None]
    _, low, high = intervals(values, [f"{i}" for i in range(len(families))], families)[0]
    assert low < -0.05
    assert high > 0.05


def test_values_that_do_not_differ_have_an_interval_of_no_width() -> None:
    assert alone(np.full(9, 0.5)) == [0.5, 0.5, 0.5]
