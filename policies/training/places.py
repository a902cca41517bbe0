"""Where work is done: processes of this machine, or (`on_ray`) of a cluster.

Two kinds of work are sent away, and both are what `concurrent.futures` calls an executor, so that
nothing else here knows where they go:

- a whole training run, of a seed or of a setting, to any free core: runs say nothing to each other
  until they end, so they need nothing but cores;
- the cases of an episode, to workers that keep them from step to step, when there is but one run:
  all wait for the slowest at each step, and the update is done by one core.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import wait
from typing import Protocol

from policies.league.tournament import cores


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
        pool = _processes(size)
        try:
            yield pool
        finally:
            _end(pool)

    @contextmanager
    def workers(self, count: int) -> Iterator[list[Executor]]:
        """A pool of one process each."""
        pools = [_processes(1) for _ in range(count)]
        try:
            yield [*pools]
        finally:
            for pool in pools:
                _end(pool)


def _processes(size: int) -> ProcessPoolExecutor:
    # spawn: threads of numba and torch do not outlive a fork.
    return ProcessPoolExecutor(size, multiprocessing.get_context("spawn"), initializer=_begin)


def _end(pool: ProcessPoolExecutor) -> None:
    pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """In a new process: Ctrl-C is for the one that waits for us, and we end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # killed as it was, it could not tell us, and nobody waits for what we do
