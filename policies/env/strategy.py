"""Strategies: what stands above the split of the traffic, and changes seldom.

How many groups a service is cut into, whether groups or endpoints carry weights, how much the
requests in flight count beside these, how often the split changes, and whether each region has one
of its own. Where few Envoys carry much traffic one group is best: full scan then knows nearly all
that is in flight. Where many carry little, classes are.

A strategy is a value and says nothing of how it is played: `policies.env.lockstep` does that with
the stages that serve. All that can be chosen is in `STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from controlplane.model import Actuation
from controlplane.model.features import CUT, FEATURES
from controlplane.model.observation import Floats
from controlplane.model.queues import queueing
from policies.env.episodes import GROUPS, Episodes, Seeded, Table
from policies.env.routing import best_split, mean_s, rewards


@dataclass(frozen=True, slots=True)
class Strategy:
    """One of them."""

    name: str
    actuation: Actuation = Actuation.AUTO
    one_group: bool = False
    """Envoy chooses among all endpoints; nothing of ours is in force."""
    every_s: int = 1
    """Seconds between two changes of the split."""
    bias: float = 1.0
    """Envoy's `active_request_bias`. It acts where endpoints carry weights that differ, and from
    the next change of the split on, as one that comes by RTDS does."""
    between_regions: bool = False
    """Each region's proxies have a split of their own, by `leastTime`; in a single region this is
    to do without."""

    def __post_init__(self) -> None:
        if self.every_s < 1 or self.bias < 0.0:
            raise ValueError(f"strategy {self.name}: whole seconds, and a bias of at least 0")
        if self.between_regions and (self.one_group or self.every_s > 1):
            raise ValueError(f"strategy {self.name}: regions are split by classes, every second")


STRATEGIES = (
    Strategy("classes"),
    Strategy("classes, every 5 s", every_s=5),
    Strategy("one group", one_group=True),
    Strategy("endpoints", actuation=Actuation.ENDPOINTS),
    Strategy("endpoints, bias 0.5", actuation=Actuation.ENDPOINTS, bias=0.5),
    Strategy("endpoints, bias 2", actuation=Actuation.ENDPOINTS, bias=2.0),
    Strategy("between regions", between_regions=True),
)
"""The registry of them. The first is what is served by default, and every episode begins with it:
others are added at the end."""


class Strategic(Episodes, Protocol):
    """Episodes in which a strategy can be chosen."""

    @property
    def strategies(self) -> Sequence[Strategy]:
        """Those that there are; the first is in force when an episode begins."""
        ...

    @property
    def context(self) -> Table:
        """(slots, k) in 0..1: what matters to the choice and is not in the table. k may be 0."""
        ...

    def arrange(self, chosen: NDArray[np.int64]) -> None:
        """(slots,) which is in force from the next step on."""
        ...


@dataclass(frozen=True, slots=True)
class FewOrMany:
    """A toy with a known best policy: a service whose Envoys become many, or few, by chance.

    Two classes of two servers. One Envoy sees all requests: a group is one queue, M/M/c. Many see
    nothing of each other: each server is a queue of its own, M/M/1, to which requests come by
    chance. What all strategies take in either case is then known, and the best policy is that of a
    process with four states (`best`).
    """

    change: float = 0.1
    """How likely the number of Envoys changes in a step."""
    steps: int = 40

    def episodes(self, slots: int, seed: int, copies: int = 1) -> FewOrManyEpisodes:
        """New ones."""
        return FewOrManyEpisodes(self, slots, seed)

    def tasks(self) -> Sequence[FewOrMany]:
        """One kind of service."""
        return [self]

    def best(self, cost: float, discount: float) -> NDArray[np.int64]:
        """(few or many, strategy in force) the best strategy, when to change it costs `cost`."""
        gain = rewards(np.log(times_s() / times_s()[:, :1])).astype(np.float64)
        stays = np.array([[1.0 - self.change, self.change], [self.change, 1.0 - self.change]])
        values = np.zeros((2, 2))
        switch = cost * (1.0 - np.eye(2))
        for _ in range(2_000):
            # What is chosen acts on the requests of the number of Envoys that is seen.
            after = gain + discount * stays @ values
            values = (after[:, None, :] - switch).max(axis=2)
        return np.asarray((after[:, None, :] - switch).argmax(axis=2), np.int64)


def times_s() -> Floats:
    """(few or many, classes or one group) mean time of requests."""
    slow, fast, demand = 1.0, 1.5, 3.0
    capacity = np.array([[slow, slow, fast, fast]])
    load = np.array([demand / capacity.sum()])
    idle_s = len(capacity[0]) / capacity.sum()  # by capacity: share / rate is alike
    split = best_split(capacity, np.array([demand]))
    alike = np.full((1, 4), 0.25)
    return np.array(
        [
            [idle_s * (1.0 + queueing(load, c)[0]) for c in (2, 4)],
            [mean_s(capacity, np.array([demand]), shares)[0] for shares in (split, alike)],
        ]
    )


class FewOrManyEpisodes(Seeded):
    """`Strategic` episodes of the toy; moves of groups do nothing."""

    strategies = (STRATEGIES[0], STRATEGIES[2])

    def __init__(self, world: FewOrMany, slots: int, seed: int) -> None:
        self.slots, self._world = slots, world
        super().__init__(seed)
        self.context = np.zeros((slots, 0), np.float32)
        self._times_s = times_s()
        self._chosen = np.zeros(slots, np.int64)

    def reset(self) -> Table:
        """Few or many, by chance."""
        self.many = self.random.integers(0, 2, self.slots)
        self._chosen = np.zeros(self.slots, np.int64)
        self._log_ratio, self._step = np.zeros(self.slots), 0
        return self._table()

    def arrange(self, chosen: NDArray[np.int64]) -> None:
        """From the next step on."""
        self._chosen = chosen

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Table, Table, bool]:
        """The strategy acts, then the number of Envoys may change."""
        took_s, base_s = self._times_s[self.many, self._chosen], self._times_s[self.many, 0]
        log_ratio = np.log(took_s / base_s)
        self._log_ratio += log_ratio
        changed = self.random.random(self.slots) < self._world.change
        self.many = np.where(changed, 1 - self.many, self.many)
        self._step += 1
        return self._table(), rewards(log_ratio), self._step >= self._world.steps

    def ratios(self) -> Floats:
        """(slots,) geometric mean over the steps."""
        return np.asarray(np.exp(self._log_ratio / max(self._step, 1)))

    def _table(self) -> Table:
        table = np.zeros((self.slots, GROUPS, len(FEATURES)), np.float32)
        table[:, :2, FEATURES.index("present")] = 1.0
        table[:, :2, FEATURES.index("proxies")] = np.where(self.many, CUT, 0.0)[:, None]
        return table
