"""Processes that play or train for this one, and end when it wants nothing more of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any


@contextmanager
def processes(
    size: int, initializer: Callable[..., None] | None = None, initargs: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that end with this one, also if that is killed.

    Ctrl-C is for the one that waits for them: then they are ended in the middle of what they do,
    which may be hours of training that can go on from its checkpoint. An error waits for what has
    begun, which somebody may still want.
    """
    # spawn: threads of numba, onnxruntime and torch do not outlive a fork.
    context = multiprocessing.get_context("spawn")
    stop, wanted = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        size, context, initializer=_begin, initargs=(stop, initializer, initargs)
    )
    try:
        yield pool
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        wanted.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        wanted.close()
        stop.close()


def _begin(
    stop: Connection, initializer: Callable[..., None] | None, initargs: tuple[Any, ...]
) -> None:
    """In a new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent.sentinel, stop), daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _follow(parent: int, stop: Connection) -> None:
    """Until the one that asked has ended, or has closed its end of the pipe."""
    wait([parent, stop])
    os._exit(1)  # killed as it was, it could not tell us, and nobody waits for what we do
