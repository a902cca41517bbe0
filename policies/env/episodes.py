"""What an algorithm learns in, whatever it is: episodes side by side, and worlds that give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats

GROUPS = 4
"""Groups that tables are padded to; grouping makes no more (capacity classes)."""
BOUND = 0.7
"""An action of 1 moves a group by this on the logarithmic scale: a factor of 2."""

Table = NDArray[np.float32]


class Episodes(Protocol):
    """Some services side by side, all of whose episodes begin and end together.

    Each slot has a base that acts beside it on the same requests, and is rewarded for how much
    better it does.
    """

    slots: int

    @property
    def random(self) -> np.random.Generator:
        """What new episodes are drawn by: with its state before a `reset` they come again."""
        ...

    def seed(self, seed: int) -> None:
        """Draw from here on as if new."""
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


class World(Protocol):
    """Where episodes come from."""

    @property
    def steps(self) -> int:
        """Steps of an episode."""
        ...

    def episodes(self, slots: int, seed: int, copies: int = 1) -> Episodes:
        """New ones. `copies` slots in a row play the same case."""
        ...

    def tasks(self) -> Sequence[World]:
        """The kinds of services that this world has, each as a world of its own."""
        ...
