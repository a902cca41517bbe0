"""What a policy would have been worth, from the log of another: estimators, without torch.

A log has for each decision what was seen, what was done and how likely that was, and what came of
it. `doubly_robust` is unbiased if either those likelihoods or the model of the reward are right
(M. Dudik, J. Langford, L. Li, "Doubly robust policy evaluation and learning", ICML 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def inverse_propensity(weights: Floats, rewards: Floats) -> Estimate:
    """(n,) how much likelier the policy does what was logged than the log's did; (n,) rewards."""
    return _mean(weights * rewards, weights)


def direct(expected: Floats) -> Estimate:
    """(n,) what a model expects of what the policy would do. As wrong as the model."""
    return _mean(expected, np.ones(len(expected)))


def doubly_robust(
    weights: Floats, rewards: Floats, expected: Floats, expected_of_logged: Floats
) -> Estimate:
    """`direct`, corrected by what the model got wrong where the log can tell."""
    return _mean(expected + weights * (rewards - expected_of_logged), weights)


def effective_sample_size(weights: Floats) -> float:
    """Kish: (sum w)^2 / sum w^2, between 1 and n.

    >>> effective_sample_size(np.ones(10)), effective_sample_size(np.array([1.0, 0.0]))
    (10.0, 1.0)
    """
    squares = float((weights**2).sum())
    return float(weights.sum() ** 2 / squares) if squares > 0.0 else 0.0


def _mean(each: Floats, weights: Floats) -> Estimate:
    error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else float("inf")
    return Estimate(float(each.mean()), error, effective_sample_size(weights))
