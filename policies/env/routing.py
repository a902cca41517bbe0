"""A toy with a known optimum: split the requests of a service over M/M/1 servers of unlike speed.

A group is one server. The base splits by capacity; what an action does is worked out by queueing
theory, with no events, so a million steps take seconds. In equilibrium a server of rate mu that
gets requests at rate x answers in 1 / (mu - x) on average. The mean over all requests is least
where one more request would cost the same everywhere: mu / (mu - x)^2 alike, that is slack in
proportion to sqrt(mu) (C. H. Bell and S. Stidham, "Individual versus social optimization in the
allocation of customers to alternative servers", Management Science 29, 1983).

The table is that of `controlplane.model.features`, as far as theory fills it, so that what learns
here is what learns on the simulator, network included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.model.features import CUT, FEATURES
from controlplane.model.observation import Floats
from policies.env.episodes import BOUND, GROUPS, Episodes, Seeded, Table

FULLEST = 0.99
"""Utilisation above which a server's time is that at this one, times how far it is beyond."""
FASTEST = 3.0
"""The fastest server over the slowest, at most."""
SCALE = 10.0
"""Of rewards: what can be won is some tenth of the logarithm."""
MOST_LOST = 3.0
"""An overload must not outweigh all that can be won."""


@dataclass(frozen=True, slots=True)
class Routing:
    """A world of services with `servers` servers. Within its ranges no optimum is beyond BOUND."""

    servers: tuple[int, int] = (2, GROUPS)
    load: tuple[float, float] = (0.5, 0.85)
    fastest: tuple[float, float] = (1.5, FASTEST)
    """The fastest server over the slowest; the others are between."""
    steps: int = 10
    hidden: bool = False
    """Whether speeds are shown at the first step alone: one has to remember them."""

    def episodes(self, slots: int, seed: int, copies: int = 1) -> Episodes:
        """New ones."""
        return RoutingEpisodes(self, slots, seed, copies)

    def tasks(self) -> Sequence[Routing]:
        """Services of each number of servers, quiet and busy."""
        low, high = self.load
        middle = 0.5 * (low + high)
        return [
            replace(self, servers=(count, count), load=load)
            for count in range(self.servers[0], self.servers[1] + 1)
            for load in ((low, middle), (middle, high))
        ]


class RoutingEpisodes(Seeded):
    """`Episodes` of services that do not change while one lasts."""

    def __init__(self, world: Routing, slots: int, seed: int, copies: int = 1) -> None:
        if slots % copies:
            raise ValueError(f"{slots} slots cannot be {copies} copies of the same cases")
        self.slots = slots
        self._world, self._copies = world, copies
        super().__init__(seed)
        self._step = 0
        self.capacity = np.zeros((slots, GROUPS))
        """(slots, GROUPS) requests a second that each server completes; 0: no server."""
        self.demand = np.zeros(slots)
        self.shares = np.zeros((slots, GROUPS))

    def reset(self) -> Table:
        """New services; the base's split is in force."""
        world, cases = self._world, self.slots // self._copies
        count = self.random.integers(world.servers[0], world.servers[1] + 1, cases)
        fastest = self.random.uniform(*world.fastest, cases)
        between = self.random.random((cases, GROUPS))
        between[:, 0], between[:, 1] = 0.0, 1.0
        speed = np.exp(between * np.log(fastest)[:, None]) * (np.arange(GROUPS) < count[:, None])
        order = self.random.permuted(np.tile(np.arange(GROUPS), (cases, 1)), axis=1)
        order = np.where(order < count[:, None], order, GROUPS)  # which server comes when
        order = np.take_along_axis(order, np.argsort(order >= GROUPS, axis=1, kind="stable"), 1)
        speed = np.take_along_axis(np.pad(speed, ((0, 0), (0, 1))), order, axis=1)
        load = self.random.uniform(*world.load, cases)
        self.capacity = np.repeat(speed, self._copies, axis=0)
        self.demand = np.repeat(load * speed.sum(axis=1), self._copies)
        self.shares = self.base = by_capacity(self.capacity)
        self._base_s = mean_s(self.capacity, self.demand, self.base)
        self._log_ratio, self._step = np.zeros(self.slots), 0
        return self._table()

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Table, Table, bool]:
        """One look: each split acts until its servers are in equilibrium."""
        residual = BOUND * np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
        moved = self.base * np.exp(residual)
        self.shares = moved / moved.sum(axis=1, keepdims=True)
        log_ratio = np.log(mean_s(self.capacity, self.demand, self.shares) / self._base_s)
        self._log_ratio += log_ratio
        self._step += 1
        return self._table(), rewards(log_ratio), self._step >= self._world.steps

    def ratios(self) -> Floats:
        """(slots,) geometric mean over the steps of the mean latency over the base's."""
        return np.asarray(np.exp(self._log_ratio / max(self._step, 1)))

    def best_ratios(self) -> Floats:
        """(slots,) the least that `ratios` can be, by theory."""
        best = best_split(self.capacity, self.demand)
        return mean_s(self.capacity, self.demand, best) / self._base_s

    def _table(self) -> Table:
        here = self.capacity > 0
        count = here.sum(axis=1, keepdims=True)
        capacity_share = by_capacity(self.capacity)
        time_s = response_s(self.capacity, self.demand[:, None] * self.shares)
        mean = (self.shares * time_s).sum(axis=1, keepdims=True)
        with np.errstate(all="ignore"):
            columns = {
                "latency": np.log(time_s / mean),
                "capacity": np.log(capacity_share * count),
                "capacity_share": np.log(capacity_share),
                "current_over_base": np.log(self.shares / self.base),
                "size": np.broadcast_to(1.0 / count, here.shape),
                "waiting": np.log(mean * self.capacity.sum(axis=1, keepdims=True) / count),
                "load": (self.demand / self.capacity.sum(axis=1))[:, None],
                "groups": np.log(count),
                "endpoints": np.log(count),
                "present": np.ones(here.shape),
            }
        if self._world.hidden:
            shown = ("capacity", "capacity_share") if self._step == 0 else ()
            columns = {n: c for n, c in columns.items() if n in (*shown, "load", "present")}
        table = np.zeros((self.slots, GROUPS, len(FEATURES)), np.float32)
        for name, column in columns.items():
            table[:, :, FEATURES.index(name)] = np.where(here, np.clip(column, -CUT, CUT), 0.0)
        return table


def rewards(log_ratio: Floats) -> Table:
    """For what the logarithm of the time over the base's is."""
    return np.asarray(np.maximum(-SCALE * log_ratio, -MOST_LOST), np.float32)


def by_capacity(capacity: Floats) -> Floats:
    """(n, g) the base's shares."""
    return np.asarray(capacity / capacity.sum(axis=1, keepdims=True))


def mean_s(capacity: Floats, demand: Floats, shares: Floats) -> Floats:
    """(n,) mean time that requests take, for (n, g) capacities and shares and (n,) demands."""
    return np.asarray((shares * response_s(capacity, demand[:, None] * shares)).sum(axis=1))


def response_s(capacity: Floats, rate: Floats) -> Floats:
    """1 / (mu - x), and growing on where x is FULLEST or more."""
    real = np.where(capacity > 0, capacity, 1.0)
    used = rate / real
    time_s = np.maximum(used / FULLEST, 1.0) / (real * (1.0 - np.minimum(used, FULLEST)))
    return np.asarray(np.where(capacity > 0, time_s, 0.0))


def best_split(capacity: Floats, demand: Floats) -> Floats:
    """(n, g) the shares for which requests take least: slack in proportion to sqrt(capacity).

    A server that would get less than nothing gets nothing; the slowest go first.
    """
    used = capacity > 0
    rate = np.zeros_like(capacity)
    for _ in range(capacity.shape[1]):
        root = np.sqrt(capacity) * used
        slack = (capacity * used).sum(axis=1) - demand
        rate = np.where(used, capacity - root * (slack / root.sum(axis=1))[:, None], 0.0)
        if (rate >= 0).all():
            break
        used = used & (rate > 0)
    return np.asarray(rate / rate.sum(axis=1, keepdims=True))


def reached(episodes: RoutingEpisodes) -> float:
    """How much of the way from the base to the optimum was made in these episodes: 1 is all."""
    return float(np.log(episodes.ratios()).sum() / np.log(episodes.best_ratios()).sum())
