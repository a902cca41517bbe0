"""A game with a known equilibrium: several that send requests to the same machines.

Each agent splits its own requests over all machines, and a machine's time depends on what all send
there: 1 / (mu - x), M/M/1. Agents are services that share machines, regions (to which machines are
near or far), or Envoys (many, alike). Where each cares for its own requests alone this is
competitive routing over parallel links, which has one Nash equilibrium (A. Orda, R. Rom and N.
Shimkin, "Competitive routing in multiuser communication networks", IEEE/ACM Transactions on
Networking 1, 1993); where they share the reward, the least total time is what they should find.

Both are worked out here by best replies, so that what agents learn can be held against them.
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
from policies.env.routing import FASTEST, response_s, rewards

_ROUNDS, _STEPS = 150, 40
"""Of best replies, and of the bisection in each."""


@dataclass(frozen=True, slots=True)
class SharedMachines:
    """A world of teams of `agents` each. Slots are the agents of the first team, then the next."""

    agents: int = 3
    shared: bool = True
    """Whether all of a team are rewarded for the time of all requests, or each for its own."""
    alike: bool = False
    """Whether all agents of a team have as many requests."""
    farthest: float = 0.0
    """The way to the farthest machine, over the time that a request takes in an idle one."""
    load: tuple[float, float] = (0.5, 0.8)
    steps: int = 10

    @classmethod
    def per_service(cls, agents: int = 3, *, shared: bool = False) -> SharedMachines:
        """Services that share machines; each for itself unless told otherwise."""
        return cls(agents, shared=shared)

    @classmethod
    def per_region(cls, agents: int = 3, *, shared: bool = True) -> SharedMachines:
        """Regions that can send requests to one another."""
        return cls(agents, shared=shared, farthest=0.5)

    @classmethod
    def per_envoy(cls, agents: int = 8, *, shared: bool = True) -> SharedMachines:
        """Envoys of one service, each with its part of the requests."""
        return cls(agents, shared=shared, alike=True)

    def episodes(self, slots: int, seed: int, copies: int = 1) -> Episodes:
        """New ones; `slots` is a multiple of the agents."""
        return MachineEpisodes(self, slots, seed, copies)

    def tasks(self) -> Sequence[SharedMachines]:
        """Quiet and busy machines."""
        low, high = self.load
        middle = 0.5 * (low + high)
        return [replace(self, load=(low, middle)), replace(self, load=(middle, high))]


class MachineEpisodes(Seeded):
    """`Episodes` of teams whose machines and requests do not change while one lasts."""

    def __init__(self, world: SharedMachines, slots: int, seed: int, copies: int = 1) -> None:
        if slots % (world.agents * copies):
            raise ValueError(f"{slots} slots are not {copies} copies of teams of {world.agents}")
        self.slots, self.teams = slots, slots // world.agents
        self._world, self._copies = world, copies
        super().__init__(seed)

    def reset(self) -> Table:
        """New machines and requests; all split by capacity."""
        world, cases = self._world, self.teams // self._copies
        random = self.random

        def drawn(values: Floats) -> Floats:
            return np.repeat(values, self._copies, axis=0)

        speed = np.exp(random.random((cases, GROUPS)) * np.log(FASTEST))
        part = random.uniform(0.5, 1.5, (cases, world.agents))
        part = np.ones_like(part) if world.alike else part
        load = random.uniform(*world.load, (cases, 1)) * speed.sum(axis=1, keepdims=True)
        far = random.random((cases, world.agents, GROUPS)) * world.farthest / speed.mean()
        self.capacity = drawn(speed)
        self.demand = drawn(load * part / part.sum(axis=1, keepdims=True))
        self.distance_s = drawn(far)
        base = self.capacity / self.capacity.sum(axis=1, keepdims=True)
        self.base = np.repeat(base[:, None, :], world.agents, axis=1)
        self.shares = self.base
        self._base_s = self.costs(self.base)
        self._log_ratio, self._step = np.zeros(self.slots), 0
        return self._table()

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Table, Table, bool]:
        """All move at once."""
        residual = np.clip(np.asarray(actions, np.float64), -1.0, 1.0).reshape(self.base.shape)
        moved = self.base * np.exp(BOUND * residual)
        self.shares = moved / moved.sum(axis=2, keepdims=True)
        log_ratio = np.log(self.costs(self.shares) / self._base_s).ravel()
        self._log_ratio += log_ratio
        self._step += 1
        ended = self._step >= self._world.steps
        return self._table(), rewards(log_ratio), ended

    def ratios(self) -> Floats:
        """(slots,) geometric mean of what each is rewarded for, over the same under the base."""
        return np.asarray(np.exp(self._log_ratio / max(self._step, 1)))

    def costs(self, shares: Floats) -> Floats:
        """(teams, agents) mean time of the requests that each is rewarded for."""
        own = own_s(self.capacity, self.demand, self.distance_s, shares)
        if not self._world.shared:
            return own
        total = (own * self.demand).sum(axis=1, keepdims=True)
        return np.asarray(
            np.broadcast_to(total / self.demand.sum(axis=1, keepdims=True), own.shape)
        )

    def settled(self) -> Floats:
        """(teams, agents, GROUPS) shares: the least total time if shared, else the equilibrium."""
        world = self._world
        return settled(self.capacity, self.demand, self.distance_s, self.base, world.shared)

    def _table(self) -> Table:
        rate = (self.demand[:, :, None] * self.shares).sum(axis=1)
        busy = response_s(self.capacity, rate)[:, None, :] + self.distance_s
        idle = 1.0 / self.capacity[:, None, :] + self.distance_s
        total = self.capacity.sum(axis=1)
        columns = {
            "latency": np.log(busy / (self.shares * busy).sum(axis=2, keepdims=True)),
            "utilisation": (rate / self.capacity - (rate.sum(axis=1) / total)[:, None])[:, None],
            "capacity": np.log(self.base * GROUPS),
            "capacity_share": np.log(self.base),
            "latency_long": np.log(idle / (self.base * idle).sum(axis=2, keepdims=True)),
            "current_over_base": np.log(self.shares / self.base),
            "size": np.full((1, 1, 1), 1.0 / GROUPS),
            "load": (self.demand.sum(axis=1) / total)[:, None, None],
            "traffic_per_proxy": np.log(self.demand / self.demand.sum(axis=1, keepdims=True))[
                :, :, None
            ],
            "groups": np.full((1, 1, 1), np.log(GROUPS)),
            "present": np.ones((1, 1, 1)),
        }
        table = np.zeros((*self.base.shape, len(FEATURES)), np.float32)
        for name, column in columns.items():
            table[..., FEATURES.index(name)] = np.clip(column, -CUT, CUT)
        return table.reshape(self.slots, GROUPS, len(FEATURES))


def own_s(capacity: Floats, demand: Floats, distance_s: Floats, shares: Floats) -> Floats:
    """(t, n) mean time of each agent's own requests; (t, g), (t, n), (t, n, g), (t, n, g)."""
    rate = (demand[:, :, None] * shares).sum(axis=1)
    return np.asarray((shares * (response_s(capacity, rate)[:, None] + distance_s)).sum(axis=2))


def settled(
    capacity: Floats, demand: Floats, distance_s: Floats, start: Floats, shared: bool
) -> Floats:
    """(t, n, g) shares of which none can be bettered by one agent alone.

    Alone it looks at its own requests' time (Nash), or at that of all (the least total: the total
    is convex, so that no agent alone can better it means that nobody can).
    """
    rates = demand[:, :, None] * start
    for _ in range(_ROUNDS):
        for i in range(demand.shape[1]):
            room = capacity - (rates.sum(axis=1) - rates[:, i])
            weight = capacity if shared else room
            rates[:, i] = reply(room, weight, demand[:, i], distance_s[:, i])
    return np.asarray(rates / demand[:, :, None])


def reply(room: Floats, weight: Floats, demand: Floats, distance_s: Floats) -> Floats:
    """(t, g) rates x at which d + weight / (room - x)^2 is alike where x is above 0.

    With weight = room it is the marginal time of an agent's own requests, with weight = mu that of
    all requests. The common value is found by bisection.
    """
    room = np.maximum(room, 1e-9)
    low = (distance_s + weight / room**2).min(axis=1)
    slack = (room.sum(axis=1) - demand) / room.shape[1]
    high = (distance_s + weight / np.minimum(slack[:, None], room) ** 2).max(axis=1) + 1e-9
    rates = np.zeros_like(room)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        over = middle[:, None] - distance_s
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = np.where(over > 0.0, room - np.sqrt(weight / over), 0.0)
        rates = np.maximum(rates, 0.0)
        enough = rates.sum(axis=1) >= demand
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    return np.asarray(rates * (demand / rates.sum(axis=1))[:, None])
