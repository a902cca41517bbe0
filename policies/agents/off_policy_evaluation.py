"""What a policy would have been worth, from the log of another: estimators, without torch.

A log has for each decision what was seen, what was done and how likely that was, and what came of
it. `doubly_robust` is unbiased if either those likelihoods or the model of the reward are right
(M. Dudik, J. Langford, L. Li, "Doubly robust policy evaluation and learning", ICML 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean reward of a policy, with its standard error."""

    value: float
    error: float
    effective: float
    """How many decisions by the policy itself would be worth as much as the log."""

    @property
    def least(self) -> float:
        """The lower end of the 95 % interval (normal)."""
        return self.value - 1.96 * self.error

    @property
    def most(self) -> float:
        """Its upper end."""
        return self.value + 1.96 * self.error


def inverse_propensity(weights: Floats, rewards: Floats) -> Estimate:
    """(n,) how much likelier the policy does what was logged than the log's did; (n,) rewards."""
    return _mean(weights * rewards, weights)


def own(rewards: Floats, episode: NDArray[np.intp] | None = None) -> Estimate:
    """Of the policy that wrote the log."""
    return _mean(rewards, np.ones(len(rewards)), episode)


def direct(expected: Floats) -> Estimate:
    """(n,) what a model expects of what the policy would do. As wrong as the model."""
    return _mean(expected, np.ones(len(expected)))


def doubly_robust(
    weights: Floats,
    rewards: Floats,
    expected: Floats,
    expected_of_logged: Floats,
    episode: NDArray[np.intp] | None = None,
) -> Estimate:
    """`direct`, corrected by what the model got wrong where the log can tell.

    `episode`: (n,) in which each decision was; those of one are not independent of one another.
    """
    return _mean(expected + weights * (rewards - expected_of_logged), weights, episode)


def beyond_the_log(
    weights: Floats,
    rewards: Floats,
    expected: Floats,
    expected_of_logged: Floats,
    episode: NDArray[np.intp] | None = None,
) -> Estimate:
    """How much more than what was logged: `doubly_robust` less the mean of the rewards.

    Its error is that of the difference, in which luck that both had cancels.
    """
    return doubly_robust(weights, rewards, expected - rewards, expected_of_logged, episode)


def effective_sample_size(weights: Floats) -> float:
    """Kish: (sum w)^2 / sum w^2, between 1 and n.

    >>> effective_sample_size(np.ones(10)), effective_sample_size(np.array([1.0, 0.0]))
    (10.0, 1.0)
    """
    squares = float((weights**2).sum())
    return float(weights.sum() ** 2 / squares) if squares > 0.0 else 0.0


def _mean(each: Floats, weights: Floats, episode: NDArray[np.intp] | None = None) -> Estimate:
    """The error is that of means over episodes (cluster-robust); each decision one unless told."""
    value = float(each.mean())
    off = each - value
    if episode is not None:
        sums = np.bincount(episode, weights=off).astype(np.float64)
        off = sums[np.bincount(episode) > 0]
    many = len(off)
    if many < 2:
        return Estimate(value, float("inf"), effective_sample_size(weights))
    error = float(np.sqrt((off**2).sum() * many / (many - 1)) / len(each))
    return Estimate(value, error, effective_sample_size(weights))
