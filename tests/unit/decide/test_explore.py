from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane import guard
from controlplane.decide.explore import explore
from controlplane.decide.queueing import QueueingModel
from controlplane.model import Proposal, Rollout, ServiceName, Situation
from controlplane.model.residual import BOUND, residual_of
from tests.unit.decide.test_learned import situations

BASE = np.array([0.5, 0.3, 0.2])


def situation(exploration: float, *, by_locality: bool = True, **fields: object) -> Situation:
    (one,) = situations(1, 6, 3, by_locality=by_locality)
    service = replace(one.service, exploration=exploration, **fields)  # type: ignore[arg-type]
    return replace(one, service=service)


def test_without_a_deviation_the_proposal_is_the_very_same() -> None:
    proposal = Proposal(BASE, "model")
    assert explore(proposal, situation(0.0), 1, 1.0) == (proposal, None)
    assert explore(proposal, situation(0.0), 1, 1.0)[0] is proposal


@given(
    st.floats(0.01, 0.5), st.integers(0, 2**63), st.floats(0.0, 1e9), st.sampled_from([0.1, 0.7])
)
def test_noise_stays_within_the_bound_and_its_density_is_the_normal_one(
    deviation: float, seed: int, now_s: float, bound: float
) -> None:
    proposal = replace(Proposal(BASE, "model"), bound=bound)
    acts, explored = explore(proposal, situation(deviation), seed, now_s)
    assert explored is not None
    assert acts.shares.sum() == pytest.approx(1.0)
    moved = np.log(acts.shares / BASE)
    assert np.ptp(moved) <= 2.0 * bound + 1e-9
    truth = sum(
        np.log(statistics.NormalDist(mean, deviation).pdf(drawn))
        for mean, drawn in zip(explored.mean, explored.drawn, strict=True)
    )
    assert explored.log_density == pytest.approx(truth, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(explored.mean, 0.0, atol=1e-12)


def test_it_is_around_what_was_learned_and_around_what_a_canary_does() -> None:
    learned = Proposal(np.array([0.4, 0.3, 0.3]), "learned", base=BASE)
    _, explored = explore(learned, situation(0.1), 1, 1.0)
    assert explored is not None
    np.testing.assert_allclose(explored.mean, residual_of(BASE, learned.shares))
    np.testing.assert_array_equal(explored.base, BASE)


def test_the_noise_is_of_the_seed_the_service_and_the_time() -> None:
    def drawn(seed: int, now_s: float, name: str = "a/b") -> list[float]:
        asked = situation(0.1, name=ServiceName(name))
        _, explored = explore(Proposal(BASE, "model"), asked, seed, now_s)
        assert explored is not None
        return [float(one) for one in explored.drawn]

    assert drawn(1, 2.0) == drawn(1, 2.0)
    others = [drawn(2, 2.0), drawn(1, 3.0), drawn(1, 2.0, "a/c")]
    assert all(one != drawn(1, 2.0) for one in others)


def test_the_noise_of_many_decisions_has_the_deviation_that_was_asked_for() -> None:
    asked, proposal = situation(0.2), Proposal(BASE, "model")
    found = [explore(proposal, asked, 7, 0.1 * i)[1] for i in range(2_000)]
    noise = np.array([one.drawn for one in found if one is not None])
    assert noise.mean(axis=0) == pytest.approx(0.0, abs=4 * 0.2 / np.sqrt(2_000))
    assert noise.std(axis=0) == pytest.approx(0.2, rel=0.06)
    assert np.corrcoef(noise.T)[0, 1] == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(
    ("proposal", "asked"),
    [
        (Proposal(BASE, "capacity"), situation(0.1)),
        (Proposal(np.full(6, 1 / 6), "model"), situation(0.1, by_locality=False)),
        (Proposal(BASE, "learned", base=BASE), situation(0.1, rollout=Rollout("shadow"))),
    ],
    ids=["another policy", "weights of endpoints", "shadow"],
)
def test_nothing_is_explored_where_nothing_learned_could_act(
    proposal: Proposal, asked: Situation
) -> None:
    acts, explored = explore(proposal, asked, 1, 1.0)
    assert explored is None
    np.testing.assert_array_equal(acts.shares, proposal.shares)
    assert acts.notes == ("nothing is explored: no correction of group weights acts here",)


def test_the_guard_comes_after_it() -> None:
    asked = situation(0.5)
    (base,) = QueueingModel().propose([asked])
    _, memory = guard.check(asked, base, None, 0.0)
    for i in range(1, 40):
        acts, _ = explore(base, asked, 3, float(i))
        verdict, after = guard.check(asked, acts, memory, 0.0)
        ratio = verdict.shares / memory.shares
        assert ratio.min() >= 0.8 - 1e-9
        assert ratio.max() <= 1.25 + 1e-9
        memory = after
    assert float(np.exp(BOUND)) > 1.25  # which it would be without
