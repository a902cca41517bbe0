"""Two replicas on real sockets: who decides is a value, what is in force a table."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from controlplane.front.programmed import Taking
from controlplane.model import (
    EndpointId,
    Estimate,
    Grouping,
    Handover,
    LastGood,
    Leader,
    Proxy,
    Reason,
    ServiceName,
    Weights,
    Zone,
)
from controlplane.model.crossing import Served
from controlplane.replicas.messages import Fleet
from controlplane.replicas.metrics import ReplicaMetrics
from controlplane.replicas.replicas import Replicas
from controlplane.resources.earlier import Earlier
from controlplane.store import Switched
from controlplane.xds.tls import Tls
from tests.certificates import Authority, Files, Issued

DEADLINE_S = 10.0
NAME = "weir.weir-system.svc"
CA = Authority()
FLEET = "default/edge"
VERSIONS = {"type.googleapis.com/envoy.config.listener.v3.Listener": "1"}


def handover(name: str = "default/cart", shares: Sequence[float] = (0.75, 0.25)) -> Handover:
    """Two groups of two endpoints and one."""
    endpoints = tuple(EndpointId(f"10.0.0.{i}:80") for i in (1, 2, 3))
    grouping = Grouping(endpoints, ("c1", "c2"), np.array([0, 1, 0]))
    weights = Weights(tuple(round(1e6 * share) for share in shares))
    places = {Zone("eu", "a"): Served(0, 500, requests=7.5, way_s=0.001, measured=3.0)}
    order = (endpoints[2], endpoints[0], endpoints[1])
    estimate = Estimate(order, 98.0, np.array([10.0, np.nan, 30.0]))
    return Handover(
        LastGood(ServiceName(name), grouping, np.array(shares), weights, "model", 1.7e9, places),
        np.array([-np.inf, 90.0, 99.5]),
        95.0,
        -np.inf,
        estimate,
        Grouping(endpoints, ("all",), np.zeros(3, dtype=np.intp)),
        60.0,
        False,
        (Reason("stepped", "a little at a time"),),
    )


@dataclass
class Elected:
    """A `Leadership` that a test sets."""

    identity: str
    decides: bool = False
    leader: Leader | None = None


@dataclass
class Table:
    """What is in force, without a loop."""

    held: dict[ServiceName, Handover] = field(default_factory=dict)
    followed: list[tuple[list[ServiceName], bool]] = field(default_factory=list)
    holds: int = 0

    def put(self, *handed: Handover) -> None:
        self.held.update({one.service: one for one in handed})

    def names(self) -> list[ServiceName]:
        return sorted(self.held)

    def handover(self, name: ServiceName) -> Handover | None:
        return self.held.get(name)

    async def follow(self, handed: Sequence[Handover], *, whole: bool = False) -> None:
        self.put(*handed)
        self.followed.append(([one.service for one in handed], whole))

    def hold(self) -> None:
        self.holds += 1


@dataclass
class Reports:
    """A sink of both kinds."""

    logs: list[tuple[Proxy, bytes]] = field(default_factory=list)
    loads: list[tuple[Proxy, bytes, bool]] = field(default_factory=list)

    def on_access_logs(self, proxy: Proxy, message: bytes) -> None:
        self.logs.append((proxy, message))

    def on_load_report(self, proxy: Proxy, message: bytes, *, first: bool) -> None:
        self.loads.append((proxy, message, first))


@dataclass
class Shared:
    """A `Shared` that believes all."""

    offered: Mapping[str, Earlier] = field(default_factory=dict)
    heard: list[tuple[dict[str, Earlier], bool]] = field(default_factory=list)

    def hear(self, told: Mapping[str, Earlier], *, leads: bool) -> None:
        self.heard.append((dict(told), leads))
        self.offered = {**self.offered, **told}


@dataclass
class Replica:
    """One process."""

    elected: Elected
    table: Table
    reports: Reports
    fleets: dict[str, Fleet]
    versions: dict[str, str]
    registry: CollectorRegistry
    replicas: Replicas
    percents: list[float]
    switch: list[Switched]
    """What is frozen here: one entry."""
    inherited: list[Switched]
    shared: Shared

    def leads(self, epoch: int) -> Leader:
        """It does, from now on."""
        leader = Leader(self.elected.identity, epoch, f"127.0.0.1:{self.replicas.port}")
        self.elected.leader, self.elected.decides = leader, True
        return leader

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def replica(
    identity: str,
    tls: Tls | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Replica]:
    elected, table, reports, registry = Elected(identity), Table(), Reports(), CollectorRegistry()
    fleets: dict[str, Fleet] = {}
    switch, inherited = [Switched()], list[Switched]()
    versions, percents, shared = dict(VERSIONS), list[float](), Shared()

    async def all_fleets() -> Mapping[str, Fleet]:
        return dict(fleets)

    made = Replicas(
        "127.0.0.1:0",
        elected,
        access_logs=reports,
        load_reports=reports,
        percent=lambda: 12.5,
        told_percent=percents.append,
        switched=lambda: switch[0],
        inherit=inherited.append,
        fleets=all_fleets,
        versions=lambda fleet: versions,
        shared=shared,
        clock=clock,
        chance=random.Random(1),
        metrics=ReplicaMetrics(registry),
        tls=tls,
        name=NAME if tls is not None else "",
    )
    await made.start(table)
    running = asyncio.create_task(made.run())
    try:
        yield Replica(
            *(elected, table, reports, fleets, versions, registry, made, percents, switch),
            *(inherited, shared),
        )
    finally:
        await made.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def files(folder: Path, issued: Issued, ca: Authority = CA) -> Tls:
    made = Files(folder).put(issued, ca.pem)
    return Tls(made.certificate, made.key, made.ca)


def envoys(**synced: bool) -> tuple[Taking, ...]:
    return tuple(Taking(node, True, taken) for node, taken in synced.items())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - there is nobody who would tell
            await asyncio.sleep(0.01)
