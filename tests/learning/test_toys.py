"""The toys are what theory says: no split that anybody can think of is better than the optimum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from policies.env.machines import MachineEpisodes, SharedMachines, own_s
from policies.env.routing import Routing, RoutingEpisodes, best_split, mean_s

pytestmark = pytest.mark.learning


def test_the_best_split_is_that_of_a_general_minimiser() -> None:
    episodes = RoutingEpisodes(Routing(), 8, 3)
    episodes.reset()
    best = mean_s(
        episodes.capacity, episodes.demand, best_split(episodes.capacity, episodes.demand)
    )
    for capacity, demand, ours in zip(episodes.capacity, episodes.demand, best, strict=True):
        capacity = capacity[capacity > 0]
        found = minimize(
            lambda x, c=capacity, d=demand: float((x / d / (c - x)).sum()),
            demand * capacity / capacity.sum(),
            bounds=[(0.0, 0.999 * c) for c in capacity],
            constraints={"type": "eq", "fun": lambda x, d=demand: x.sum() - d},
            method="SLSQP",
            options={"ftol": 1e-12},
        )
        assert ours == pytest.approx(found.fun, rel=1e-4)


def test_two_servers_by_hand() -> None:
    """mu = 1 and 3, lambda = 2: slack 2 in proportion 1 : sqrt(3)."""
    capacity, demand = np.array([[1.0, 3.0, 0.0, 0.0]]), np.array([2.0])
    share = best_split(capacity, demand)[0]
    slack = 2.0 / (1.0 + np.sqrt(3.0))
    assert share[:2] * 2.0 == pytest.approx([1.0 - slack, 3.0 - slack * np.sqrt(3.0)])
    assert mean_s(capacity, demand, np.array([[0.25, 0.75, 0.0, 0.0]])) == pytest.approx([1.0])


def test_a_server_that_is_too_slow_to_be_of_use_gets_nothing() -> None:
    share = best_split(np.array([[0.1, 4.0, 4.0, 0.0]]), np.array([1.0]))
    assert share == pytest.approx(np.array([[0.0, 0.5, 0.5, 0.0]]))


def test_the_optimum_is_within_the_reach_of_actions() -> None:
    episodes = RoutingEpisodes(Routing(), 500, 1)
    episodes.reset()
    with np.errstate(all="ignore"):
        wanted = np.log(best_split(episodes.capacity, episodes.demand) / episodes.base)
    wanted = np.where(episodes.capacity > 0, wanted, np.nan)
    spread = np.nanmax(wanted, axis=1) - np.nanmin(wanted, axis=1)
    assert spread.max() < 1.4


@pytest.mark.parametrize("shared", [False, True])
def test_nobody_can_better_what_has_settled(shared: bool) -> None:
    episodes = MachineEpisodes(SharedMachines.per_region(3, shared=shared), 12, 4)
    episodes.reset()
    settled = episodes.settled()
    assert settled.sum(axis=2) == pytest.approx(1.0)
    before = episodes.costs(settled)
    random = np.random.default_rng(0)
    for _ in range(200):
        agent = int(random.integers(3))
        other = settled.copy()
        moved = other[:, agent] * np.exp(random.normal(0.0, 0.05, other[:, agent].shape))
        other[:, agent] = moved / moved.sum(axis=1, keepdims=True)
        assert (episodes.costs(other)[:, agent] >= before[:, agent] * (1 - 1e-4)).all()


def test_sharing_the_reward_is_better_for_all_together_than_the_equilibrium() -> None:
    selfish = MachineEpisodes(SharedMachines.per_service(3, shared=False), 12, 4)
    selfish.reset()
    together = MachineEpisodes(SharedMachines.per_service(3, shared=True), 12, 4)
    together.reset()

    def total(shares: np.ndarray) -> np.ndarray:
        own = own_s(selfish.capacity, selfish.demand, selfish.distance_s, shares)
        return np.asarray((own * selfish.demand).sum(axis=1))

    anarchy = total(selfish.settled()) / total(together.settled())
    assert (anarchy >= 1.0 - 1e-9).all()
    assert anarchy.max() > 1.0005


def test_one_agent_alone_is_the_toy_with_one_service() -> None:
    episodes = MachineEpisodes(SharedMachines(agents=1), 6, 2)
    episodes.reset()
    best = best_split(episodes.capacity, episodes.demand[:, 0])
    assert episodes.settled()[:, 0] == pytest.approx(best, abs=1e-5)
