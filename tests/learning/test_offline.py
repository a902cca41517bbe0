"""What a log says of a policy that did not write it: held to truths that are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.agents.off_policy_evaluation import (
    Estimate,
    direct,
    doubly_robust,
    effective_sample_size,
    inverse_propensity,
)
from policies.agents.offline import OfflineLearner, logged
from policies.agents.registry import algorithm
from policies.training.scoring import score
from policies.training.toy import LESSONS

pytestmark = pytest.mark.learning

CONTEXTS, ACTIONS = 4, 3


class Bandit:
    """Contexts, actions, and mean rewards that are known; the noise is normal."""

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        self.mean = random.normal(size=(CONTEXTS, ACTIONS))
        self.logging = random.dirichlet(np.full(ACTIONS, 2.0), CONTEXTS)
        self.policy = random.dirichlet(np.full(ACTIONS, 2.0), CONTEXTS)
        self.truth = float((self.policy * self.mean).sum(axis=1).mean())

    def estimates(
        self, n: int, seed: int, *, model_off: float = 0.0, odds_off: float = 0.0
    ) -> dict[str, Estimate]:
        """From a log of n, with a model of the reward and likelihoods that may be wrong."""
        random = np.random.default_rng(seed)
        x = random.integers(CONTEXTS, size=n)
        cut = random.random(n)[:, None] < self.logging[x].cumsum(axis=1)
        a = cut.argmax(axis=1)
        reward = self.mean[x, a] + random.normal(size=n)
        wrong = np.random.default_rng(0)
        model = self.mean + model_off * wrong.normal(size=self.mean.shape)
        believed = self.logging * np.exp(odds_off * wrong.normal(size=self.logging.shape))
        weights = self.policy[x, a] / (believed / believed.sum(axis=1, keepdims=True))[x, a]
        expected = (self.policy * model).sum(axis=1)[x]
        return {
            "direct": direct(expected),
            "inverse": inverse_propensity(weights, reward),
            "both": doubly_robust(weights, reward, expected, model[x, a]),
        }


def bias(name: str, **off: float) -> tuple[float, float]:
    """The mean error over many logs, and its standard error."""
    bandit = Bandit()
    errors = [bandit.estimates(200, seed, **off)[name].value - bandit.truth for seed in range(600)]
    return float(np.mean(errors)), float(np.std(errors) / np.sqrt(len(errors)))


@pytest.mark.parametrize("off", [{}, {"model_off": 1.0}, {"odds_off": 0.7}])
def test_doubly_robust_is_unbiased_if_either_is_right(off: dict[str, float]) -> None:
    mean, error = bias("both", **off)
    assert abs(mean) < 3.0 * error


def test_the_others_are_not_and_neither_is_it_when_both_are_wrong() -> None:
    for name, off in (
        ("direct", {"model_off": 1.0}),
        ("inverse", {"odds_off": 2.0}),
        ("both", {"model_off": 1.0, "odds_off": 2.0}),
    ):
        mean, error = bias(name, **off)
        assert abs(mean) > 5.0 * error, name


def test_a_good_model_makes_it_surer_than_likelihoods_alone() -> None:
    found = Bandit().estimates(5_000, 1)
    assert found["both"].error < found["inverse"].error


def test_nineteen_intervals_of_twenty_hold_the_truth() -> None:
    bandit = Bandit()
    found = [bandit.estimates(400, seed)["both"] for seed in range(400)]
    inside = [abs(one.value - bandit.truth) < 1.96 * one.error for one in found]
    assert 0.92 < np.mean(inside) < 0.98


def test_decisions_of_one_episode_are_not_taken_for_independent_ones() -> None:
    random = np.random.default_rng(0)
    episode = np.repeat(np.arange(50), 20)
    values, errors = [], []
    for _ in range(300):
        luck = random.normal(size=50)[episode] + 0.1 * random.normal(size=1000)
        ones, zeros = np.ones(1000), np.zeros(1000)
        found = doubly_robust(ones, luck, zeros, zeros, episode)
        values.append(found.value)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


def test_the_effective_size_is_that_of_the_variance() -> None:
    weights = np.random.default_rng(0).lognormal(0.0, 1.0, 100_000)
    # For lognormal weights n / E[w^2] * E[w]^2 = n / exp(sigma^2).
    assert effective_sample_size(weights) == pytest.approx(100_000 / np.e, rel=0.05)


def learned(told: list[Mapping[str, float]], caution: float | None = None) -> OfflineLearner:
    settings = LESSONS["offline"].settings
    if caution is not None:
        settings = replace(settings, caution=caution, updates=50)  # type: ignore[call-arg]
    learner = algorithm("offline").learner(settings, LESSONS["offline"].world, 1)
    assert isinstance(learner, OfflineLearner)
    learner.log_to(lambda _, losses: told.append(losses))
    learner.learn(LESSONS["offline"].steps if caution is None else 1_280, lambda *_: None)
    return learner


def test_a_log_of_the_base_teaches_the_optimum_and_the_estimate_is_what_playing_shows() -> None:
    told: list[Mapping[str, float]] = []
    lesson, learner = LESSONS["offline"], learned(told)
    assert score(lesson.world, learner.actor()) >= lesson.least
    estimate = learner.estimate
    assert estimate is not None
    assert 200 < estimate.effective < lesson.steps / 2
    assert told == [
        {
            "off_policy_value": estimate.value,
            "off_policy_least": estimate.least,
            "effective_sample_size": estimate.effective,
            "sample_size": lesson.steps / 2,
        }
    ]
    # The truth: play it with the noise of the log, in the units of the log that judged it.
    settings = learner._settings
    episodes = lesson.world.episodes(settings.slots, settings.slots, settings.copies)
    base, _ = logged(lesson.world.episodes(64, 1, settings.copies), 12_800, settings, 1)
    chance, table, ended = torch.Generator().manual_seed(3), episodes.reset(), False
    rewards = []
    for _ in range(20):
        table, ended = episodes.reset(), False
        while not ended:
            with torch.no_grad():
                means = learner.actor()(torch.from_numpy(table))
            noise = settings.deviation * torch.randn(means.shape, generator=chance)
            table, reward, ended = episodes.step((means + noise).numpy())
            rewards.append(reward)
    truth = (np.mean(rewards) - float(base.returns.mean())) / float(base.returns.std())
    assert abs(estimate.value - truth) < 4.0 * estimate.error + 0.1 * abs(truth)


def test_the_base_stays_where_nothing_better_is_shown() -> None:
    learner = learned([], caution=1_000.0)
    table = torch.randn(4, 3, 31)
    assert not learner.actor()(table).any()
