"""Where work is done: processes of this machine, or (`on_ray`) of a cluster.

Two kinds of work are sent away, and both are what `concurrent.futures` calls an executor, so that
nothing else here knows where they go:

- a whole training run, of a seed or of a setting, to any free core: runs say nothing to each other
  until they end, so they need nothing but cores;
- the cases of an episode, to workers that keep them from step to step, when there is but one run:
  all wait for the slowest at each step, and the update is done by one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from policies.league.tournament import cores
from policies.processes import processes


class Place(Protocol):
    """Somewhere with cores."""

    cores: int

    def pool(self, size: int) -> AbstractContextManager[Executor]:
        """For work in any order, `size` at a time."""
        ...

    def workers(self, count: int) -> AbstractContextManager[list[Executor]]:
        """Each is one process, does its work in order, and keeps its memory."""
        ...


class Local:
    """Processes of this machine."""

    def __init__(self, count: int | None = None) -> None:
        self.cores = cores() if count is None else count

    @contextmanager
    def pool(self, size: int) -> Iterator[Executor]:
        """Processes that end with this one."""
        with processes(size) as pool:
            yield pool

    @contextmanager
    def workers(self, count: int) -> Iterator[list[Executor]]:
        """A pool of one process each."""
        with ExitStack() as stack:
            yield [stack.enter_context(processes(1)) for _ in range(count)]
