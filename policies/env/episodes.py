"""What an algorithm learns in, whatever it is: episodes side by side, and worlds that give them."""

# ruff: noqa: ANN401 - states are what the episodes say they are
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats
from controlplane.model.residual import BOUND as BOUND  # what an action of 1 moves a group by

GROUPS = 4
"""Groups that tables are padded to; grouping makes no more (capacity classes)."""

Table = NDArray[np.float32]


class Episodes(Protocol):
    """Some services side by side, all of whose episodes begin and end together.

    Each slot has a base that acts beside it on the same requests, and is rewarded for how much
    better it does.
    """

    slots: int

    def seed(self, seed: int) -> None:
        """Draw from here on as if new."""
        ...

    def state(self) -> Any:
        """All that the next episodes are drawn by, for a checkpoint."""
        ...

    def restore(self, state: Any) -> None:
        """Draw from here on as where `state` was asked for: between `state` and `reset` that is
        the same episodes again."""
        ...

    def reset(self) -> Table:
        """(slots, GROUPS, features) at the first tick of new episodes."""
        ...

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Table, Table, bool]:
        """(slots, GROUPS) actions in -1..1; then features, (slots,) rewards, whether all ended."""
        ...

    def ratios(self) -> Floats:
        """(slots,) mean latency over the base's since the episode began; 1 is as good."""
        ...


class Seeded:
    """Of episodes that one generator draws."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def seed(self, seed: int) -> None:
        """Draw from here on as if new."""
        self.random = np.random.default_rng(seed)

    def state(self) -> Any:
        """That of the generator."""
        return self.random.bit_generator.state

    def restore(self, state: Any) -> None:
        """As it was."""
        self.random.bit_generator.state = state


class World(Protocol):
    """Where episodes come from."""

    @property
    def steps(self) -> int:
        """Steps of an episode."""
        ...

    def episodes(self, slots: int, seed: int, copies: int = 1) -> Episodes:
        """New ones. `copies` slots in a row play the same case; of teams, so many teams."""
        ...

    def tasks(self) -> Sequence[World]:
        """The kinds of services that this world has, each as a world of its own."""
        ...
