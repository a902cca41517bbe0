"""One fake per port. Real enough to be shared, small enough to be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from controlplane.errors import StoreError
from controlplane.model import (
    Endpoint,
    LastGood,
    Observation,
    Proposal,
    Service,
    ServiceName,
    Situation,
    Snapshot,
)


def service(name: str = "default/cart", endpoints: int = 4, **fields: object) -> Service:
    """A service with that many endpoints, of policy `fixed`."""
    where = tuple(Endpoint(f"10.0.0.{i + 1}", 80) for i in range(endpoints))
    return Service(ServiceName(name), where, **{"policy": "fixed", **fields})  # type: ignore[arg-type]


def look(of: Service, at_s: float, **arrays: Sequence[float]) -> Observation:
    """A healthy look at a service; arrays may be given."""
    n = len(of.endpoints)
    # Real traffic never counts the same twice in a row, and numbers that repeat are suspect.
    values = {
        "succeeded": [100.0 + at_s % 7.0] * n,
        "failed": [0.0] * n,
        "in_flight": [2.0] * n,
        "latency_s": [0.02] * n,
        "latency_p99_s": [0.05] * n,
        "latency_samples": [100.0] * n,
        "utilisation": [0.2] * n,
        "age_s": [0.0] * n,
        **arrays,
    }
    return Observation(
        service=of.name,
        at_s=at_s,
        window_s=1.0,
        endpoints=tuple(endpoint.id for endpoint in of.endpoints),
        **{name: np.array(array, dtype=np.float64) for name, array in values.items()},  # type: ignore[arg-type]
    )


class HealthySource:
    """Sees every service as healthy, now; or fails, or hangs, when told to."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.failing: Exception | None = None
        self.hangs = False
        self.asked: list[list[ServiceName]] = []

    async def observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        self.asked.append([one.name for one in services])
        if self.hangs:
            await asyncio.sleep(3600)
        if self.failing is not None:
            raise self.failing
        return {one.name: look(one, self._clock()) for one in services}


class FixedPolicy:
    """Wants these shares of every service."""

    def __init__(self, shares: Sequence[float]) -> None:
        self.shares = np.array(shares, dtype=np.float64)

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        return [Proposal(self.shares, "fixed") for _ in situations]


class RecordingSink:
    """Keeps the snapshots that were published."""

    def __init__(self) -> None:
        self.published: list[Snapshot] = []

    def publish(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)


class MemoryStore:
    """Keeps the last good state; or fails, or hangs, when told to."""

    def __init__(self) -> None:
        self.saved: dict[ServiceName, LastGood] = {}
        self.failing = False
        self.hangs = False

    async def load(self) -> Mapping[ServiceName, LastGood]:
        return dict(self.saved)

    async def save(self, states: Sequence[LastGood]) -> None:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.failing:
            raise StoreError("the disk is full")
        self.saved.update({one.service: one for one in states})
