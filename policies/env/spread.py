"""Episodes of the simulator that several processes play, each some of the cases.

What they are is drawn here, and a case is played alike whoever plays it and whatever is played
beside it; so results do not depend on how many processes there are, nor on which is the fastest.
A process is anything that is an `Executor` with one worker whose memory stays: there a `Paired`
waits for the next step of its cases.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats
from policies.env.curriculum import Dealer
from policies.env.draw import Drawn
from policies.env.episodes import Table
from policies.env.paired import Paired, context_of
from policies.env.simulated import Simulated
from policies.env.strategy import STRATEGIES, Strategy

Key = tuple[int, int]
"""Of a worker's part: the number of the episodes in this process, and that of the part."""

PATIENCE_S = 300.0
"""For one step of one worker; the first compiles."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A world as `Simulated`, played by workers."""

    world: Simulated
    workers: tuple[Executor, ...]

    @property
    def steps(self) -> int:
        """As the world's."""
        return self.world.steps

    def episodes(self, slots: int, seed: int, copies: int = 1) -> SpreadEpisodes:
        """New ones."""
        return SpreadEpisodes(self.world, self.workers, slots, seed, copies)

    def tasks(self) -> Sequence[Spread]:
        """As the world's."""
        return [replace(self, world=task) for task in self.world.tasks()]


_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class _Part:
    """What a worker plays."""

    worker: Executor
    key: Key
    cases: slice
    slots: slice


class SpreadEpisodes:
    """`Strategic` episodes; each worker has cases that are next to each other."""

    def __init__(
        self, world: Simulated, workers: Sequence[Executor], slots: int, seed: int, copies: int
    ) -> None:
        if slots % copies:
            raise ValueError(f"{slots} slots cannot be {copies} copies of the same cases")
        self.slots = slots
        self._dealer = Dealer(world.draw, seed, copies=copies, stages=world.stages)
        self._world, self._copies = world, copies
        number = next(_numbers)
        cases = slots // copies
        used = list(workers[:cases])
        cuts = [cases * i // len(used) for i in range(len(used) + 1)]
        self._parts = [
            _Part(worker, (number, i), slice(a, b), slice(a * copies, b * copies))
            for i, (worker, a, b) in enumerate(zip(used, cuts, cuts[1:], strict=False))
        ]
        self._arranged: NDArray[np.int64] | None = None
        self.context: Table = np.zeros((slots, 1), np.float32)
        """As that of `Paired`."""
        self._ratios: Floats = np.ones(slots)

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """Those that can be arranged."""
        return STRATEGIES

    def seed(self, seed: int) -> None:
        """Draw from here on as if new."""
        self._dealer.seed(seed)

    def state(self) -> Any:  # noqa: ANN401 - what the dealer says it is
        """All that the next episodes are drawn by."""
        return self._dealer.state()

    def restore(self, state: Any) -> None:  # noqa: ANN401
        """As it was."""
        self._dealer.restore(state)

    def arrange(self, chosen: NDArray[np.int64]) -> None:
        """(slots,) which strategy is in force from the next step on."""
        self._arranged = chosen

    def reset(self) -> Table:
        """(slots, GROUPS, features) at the first tick of new episodes."""
        drawn = self._dealer.deal(self.slots // self._copies)
        self._arranged = None
        self.context = context_of(drawn, self._copies)
        self._ratios = np.ones(self.slots)
        return np.concatenate(
            self._asked(
                lambda part: (_begun, part.key, self._world, self._copies, drawn[part.cases])
            )
        )

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Table, Table, bool]:
        """(slots, GROUPS) actions in -1..1; then features, (slots,) rewards, whether all ended."""
        arranged, self._arranged = self._arranged, None
        got = self._asked(
            lambda part: (
                _stepped,
                part.key,
                actions[part.slots],
                None if arranged is None else arranged[part.slots],
            )
        )
        tables, rewards, ended, ratios = zip(*got, strict=True)
        self._ratios = np.concatenate(ratios)
        return np.concatenate(tables), np.concatenate(rewards), bool(ended[0])

    def ratios(self) -> Floats:
        """(slots,) mean latency over the base's."""
        return self._ratios

    def _asked(self, call: Callable[[_Part], tuple[Any, ...]]) -> list[Any]:
        """What each worker answers; all work at the same time."""
        futures: list[Future[Any]] = [part.worker.submit(*call(part)) for part in self._parts]
        return [future.result(PATIENCE_S) for future in futures]


# --- in a worker -------------------------------------------------------------------------------

_playing: dict[Key, Paired] = {}


def _begun(key: Key, world: Simulated, copies: int, drawn: Sequence[Drawn]) -> Table:
    if key not in _playing:
        _playing[key] = Paired(
            world.draw,
            len(drawn) * copies,
            0,
            copies,
            objective=world.objective,
            discount=world.discount,
        )
    return _playing[key].begin(drawn)


def _stepped(
    key: Key, actions: NDArray[np.floating[Any]], arranged: NDArray[np.int64] | None
) -> tuple[Table, Table, bool, Floats]:
    episodes = _playing[key]
    if arranged is not None:
        episodes.arrange(arranged)
    table, rewards, ended = episodes.step(actions)
    return table, rewards, ended, episodes.ratios()
