"""The analytic policies on situations that can be judged by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from controlplane.decide.capacity import Capacity
from controlplane.decide.equal import Equal
from controlplane.decide.queueing import LEAST_RATIO, QueueingModel, optimal
from controlplane.decide.stations import Stations
from controlplane.model import Estimate, folding
from controlplane.model.queues import queueing
from tests.unit.decide.worlds import ids, known, service, situation

FAST, SLOW = 80.0, 20.0


def test_equal_is_by_the_number_of_endpoints() -> None:
    made = Equal().propose([situation(known(np.ones(4)), [0, 0, 0, 1])])[0]
    assert made.shares.tolist() == [0.75, 0.25]
    assert made.policy == "equal"


def test_capacity_is_by_what_the_groups_can_do() -> None:
    made = Capacity().propose([situation(known(np.array([3.0, 3.0, 1.0, 1.0])), [0, 0, 1, 1])])
    assert made[0].shares == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("policy", [Capacity(), QueueingModel()])
def test_with_nothing_known_shares_are_by_declaration_and_else_equal(
    policy: Capacity | QueueingModel,
) -> None:
    names = ids(service(2))
    unknown = Estimate.unknown(names)  # type: ignore[arg-type]
    assert policy.propose([situation(unknown)])[0].shares == pytest.approx([0.5, 0.5])
    declared = Estimate.unknown(names, np.array([3.0, 1.0]))  # type: ignore[arg-type]
    assert policy.propose([situation(declared)])[0].shares == pytest.approx([0.75, 0.25])


def test_the_model_gives_the_fast_more_than_their_part_while_it_is_quiet() -> None:
    capacity, base_s = np.array([FAST, FAST, SLOW, SLOW]), np.array([0.05, 0.05, 0.2, 0.2])
    of_fast = [
        QueueingModel()
        .propose([situation(known(capacity, base_s, load * 200.0), [0, 0, 1, 1])])[0]
        .shares[0]
        for load in (0.3, 0.6, 0.8, 0.9, 0.97, 1.5)
    ]
    assert all(a >= b - 1e-6 for a, b in pairwise(of_fast)), "it leans back as the load rises"
    assert of_fast[0] > 0.85
    assert of_fast[-1] == pytest.approx(0.8, abs=0.02), "full load is by capacity"


def test_a_load_that_is_a_guess_is_the_mean_over_all_guesses() -> None:
    capacity, base_s = np.array([FAST, FAST, SLOW, SLOW]), np.array([0.05, 0.05, 0.2, 0.2])
    guessed = known(capacity, base_s, 80.0)
    # One server or 64, and 8 times the capacity either way of what is believed on the whole.
    apart = np.linspace(-np.log(8.0), np.log(8.0), folding.HYPOTHESES)
    guessed.table[folding.LEVEL] = np.log(capacity) + apart[:, None]
    sure = known(capacity, base_s, 80.0)
    sure.table[folding.LEVEL] = np.log(capacity)
    said = known(capacity, base_s, 80.0)
    said.table[:] = guessed.table
    said.table[folding.SAID_AGE] = 0.0
    belief = folding.probabilities(guessed.shared[:, None])[:, 0]
    scale = np.exp(float(belief @ apart) - apart)
    mean = float(belief @ np.minimum(scale, 200.0 / 80.0))

    def busier(estimate: Estimate) -> float:
        return float(Stations.of([situation(estimate, [0, 0, 1, 1])]).busier[0])

    assert busier(guessed) == pytest.approx(mean)
    assert mean > 1.2
    assert busier(sure) == pytest.approx(1.0)
    assert busier(said) == 1.0
    fast = [
        QueueingModel().propose([situation(one, [0, 0, 1, 1])])[0].shares[0]
        for one in (guessed, sure)
    ]
    assert fast[0] < fast[1], "it leans to capacity, which is .8"


def test_the_slow_are_never_left_idle() -> None:
    capacity, base_s = np.array([FAST, SLOW]), np.array([0.05, 0.2])
    shares = QueueingModel().propose([situation(known(capacity, base_s, 1.0))])[0].shares
    assert shares[1] >= 0.9 * LEAST_RATIO * 0.2


def test_the_optimum_is_not_beaten_by_any_other_split() -> None:
    capacity, base_s = np.array([[100.0, 60.0, 30.0]]), np.array([[0.04, 0.08, 0.15]])
    servers = capacity * base_s
    demand = np.array([140.0])

    def total(rates: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        wait = queueing(rates / capacity[0], servers[0])
        return float((rates * base_s[0] * (1.0 + wait)).sum())

    best = optimal(capacity, base_s, servers, np.ones(1), demand)[0]
    best = best * demand[0] / best.sum()
    random = np.random.default_rng(0)
    others = random.dirichlet(np.ones(3), 3000) * demand[0]
    fits = others[(others < 0.999 * capacity[0]).all(axis=1)]
    assert len(fits) > 100
    assert total(best) <= min(total(rates) for rates in fits) * 1.005


def test_an_endpoint_that_only_fails_fast_loses_its_share() -> None:
    estimate = known(np.full(8, 50.0), 0.05, 200.0)
    estimate.table[folding.ERRORS] = 0.0
    estimate.table[folding.ERRORS, 3] = 1.0
    for policy in (Capacity(), QueueingModel()):
        shares = policy.propose([situation(estimate)])[0].shares
        assert shares[3] < 0.3 * shares[0]


def test_errors_that_all_have_alike_move_nothing() -> None:
    estimate = known(np.full(4, 50.0), 0.05, 100.0)
    estimate.table[folding.ERRORS] = 0.3
    assert Capacity().propose([situation(estimate)])[0].shares == pytest.approx([0.25] * 4)


def test_a_batch_of_unlike_services_is_as_each_alone() -> None:
    situations = [
        situation(known(np.array([3.0, 1.0]), 0.1, 2.0)),
        situation(known(np.linspace(10, 50, 7), 0.05, 90.0), [0, 0, 1, 1, 2, 2, 2]),
        situation(known(np.array([5.0]))),
    ]
    for policy in (Equal(), Capacity(), QueueingModel()):
        together = policy.propose(situations)
        for made, one in zip(together, situations, strict=True):
            assert made.shares == pytest.approx(policy.propose([one])[0].shares)
        assert policy.propose([]) == []
