"""A Ray cluster as a place to train. The one module that knows Ray, imported if it is asked for.

Ray's futures are those of `concurrent.futures`, so executors over it are a few lines. What is sent
are functions of this package by name: workers have to have the same version of it installed.
"""

# ruff: noqa: ANN401 - Ray has no types that help
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from controlplane.errors import WeirError

LOCAL = "local"
"""The address that starts a cluster on this machine, and ends it."""


class OnRay:
    """The cluster at host:port, which this machine is a node of; with `local` one of it alone."""

    def __init__(self, address: str, count: int | None = None) -> None:
        """`count`: cores to use, or all."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
        import ray

        self._ray = ray
        options: dict[str, Any] = {
            "address": address,  # Ray's own word for a new one is `local`, too
            "log_to_driver": False,
            "configure_logging": False,
        }
        if address == LOCAL:
            options |= {"include_dashboard": False, "num_cpus": count}
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WeirError(
                f"no Ray cluster at {address} that this machine is a node of: {error}"
            ) from error
        has = int(ray.cluster_resources().get("CPU", 0))
        self.cores = has if count is None else min(count, has)
        if self.cores < 1:
            raise WeirError(f"the Ray cluster at {address} has no CPU to work with")

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._ray.shutdown()

    @contextmanager
    def pool(self, size: int) -> Iterator[Executor]:
        """Tasks of one CPU each; the cluster says when it has room, `size` is not needed."""
        run = self._ray.remote(num_cpus=1, max_retries=0)(_call)
        yield _Sent(run.remote)

    @contextmanager
    def workers(self, count: int) -> Iterator[list[Executor]]:
        """Actors of one CPU each."""
        kind = self._ray.remote(num_cpus=1, max_restarts=0)(_Worker)
        actors = [kind.remote() for _ in range(count)]
        try:
            yield [_Sent(actor.call.remote) for actor in actors]
        finally:
            for actor in actors:
                self._ray.kill(actor)


class _Sent(Executor):
    """Calls something remote."""

    def __init__(self, remote: Callable[..., Any]) -> None:
        self._remote = remote

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send it."""
        told: Future[Any] = Future()
        self._remote(fn, args, kwargs).future().add_done_callback(partial(_pass_on, told))
        return told


def _pass_on(told: Future[Any], ended: Future[Any]) -> None:
    """What came of it, as from a process of this machine: what it raised is raised as it was.

    WeirError where it did not come to an end: its process or its machine is gone.
    """
    from ray.exceptions import RayError, RayTaskError

    error = ended.exception()
    match error:
        case None:
            told.set_result(ended.result())
        case RayTaskError(cause=Exception() as raised):
            raised.__cause__ = error  # says where, and has the traceback from there
            told.set_exception(raised)
        case RayError():
            why, _, _ = str(error).partition("\n")
            lost = WeirError(f"{_LOST} {why}")
            lost.__cause__ = error
            told.set_exception(lost)
        case _:
            told.set_exception(error)


_LOST = (
    "a process or a machine of the Ray cluster that trained is gone (memory?); the same command "
    "goes on, `weir train` with --resume. Ray says:"
)


class _Worker:
    """A process that keeps its memory."""

    def call(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Do it here."""
        return fn(*args, **kwargs)


def _call(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return fn(*args, **kwargs)
