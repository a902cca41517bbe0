"""States to store in the tests of this folder."""

from __future__ import annotations

import numpy as np

from controlplane.model import EndpointId, Grouping, LastGood, ServiceName, Weights


def state(name: str = "default/shop", *, first: int = 25_000, saved_at: float = 1e9) -> LastGood:
    """Three endpoints in two groups."""
    ids = tuple(EndpointId(f"10.0.0.{i}:80") for i in (1, 2, 3))
    grouping = Grouping(ids, ("fast", "slow"), np.array([0, 0, 1], dtype=np.intp))
    weights = Weights((first, 30_000 - first))
    shares = np.array(weights.by_group) / 30_000 * (1 + 1e-16)
    return LastGood(ServiceName(name), grouping, shares, weights, "model", saved_at)


def assert_same(one: LastGood, other: LastGood) -> None:
    """Equal to the bit."""
    assert one.service == other.service
    assert one.grouping.same_as(other.grouping)
    assert one.shares.tobytes() == other.shares.tobytes()
    assert one.weights == other.weights
    assert one.places == other.places
    assert (one.policy, one.saved_at) == (other.policy, other.saved_at)
