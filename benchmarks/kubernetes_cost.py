"""What a start, a changed EndpointSlice and the work of each second cost in CPU time, by part.

    python -m benchmarks.kubernetes_cost [--services 1000] [--changes 50]

All that `weir serve --kubernetes` does with what the API server sends, in one process without any
server: objects to documents, to what is declared, to services, through the loop with its guard, to
snapshots in the cache. Every Service has ten endpoints and a route. CPU time of the process, which
other work on the machine hardly moves. A change gives one endpoint of one Service another address.
Each second there is a tick for all services, of which the longest piece that keeps the loop is what
a change may have to wait for, and a look at all statuses, here with none to be written. The result
is written to `benchmarks/results/kubernetes_cost.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import platform
import random
import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from benchmarks.kubernetes_endpoints import ENDPOINTS, route, service, slice_of
from controlplane.decide import Decider, Policies
from controlplane.discovery import Discovery, SystemResolver
from controlplane.kubernetes.cluster import now
from controlplane.kubernetes.objects import Held, Objects
from controlplane.kubernetes.passes import Pass, files_of, look
from controlplane.kubernetes.referred import Referred
from controlplane.kubernetes.resource import Resource
from controlplane.kubernetes.status import Statuses, merged
from controlplane.loop import Loop
from controlplane.model import LastGood, ServiceName
from controlplane.observe.in_process import InProcessSource
from controlplane.observe.parts import ByPart, wholes
from controlplane.publisher import Publisher
from controlplane.resources import Loaded, Services
from controlplane.resources.conditions import Programming, conditions
from controlplane.telemetry.metrics import LoopMetrics
from controlplane.translate import Translator
from controlplane.xds import SnapshotCache
from tests.unit.resources.documents import GATEWAY

RESULT = Path(__file__).parent / "results" / "kubernetes_cost.json"
GATEWAY_API = "gateway.networking.k8s.io/v1"
KINDS = {
    "Gateway": Resource(GATEWAY_API, "gateways", "Gateway"),
    "HTTPRoute": Resource(GATEWAY_API, "httproutes", "HTTPRoute"),
    "Service": Resource("v1", "services", "Service"),
    "EndpointSlice": Resource("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
}
FAR = {"default/edge": Programming(3, 3)}

Item = dict[str, Any]


class Nowhere:
    """A `StateStore` that keeps nothing: what a disk takes is no CPU time."""

    async def load(self) -> Mapping[ServiceName, LastGood]:
        return {}

    async def save(self, states: Sequence[LastGood]) -> None:
        del states


class Plane:
    """The parts of `weir serve --kubernetes`, and what each of them took."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.cache = SnapshotCache()
        self.objects = Objects(KINDS.values())
        self._pass, self._services, self._meant = Pass(), Services(), Referred()
        self._statuses = Statuses()
        self._discovery = Discovery(
            SystemResolver(),
            clock=time.monotonic,
            chance=random.Random(),
        )
        self._watching = self._discovery.watch()
        self._telemetry = InProcessSource(time.monotonic)
        makers = {one.name: one.load for one in entry_points(group="controlplane.policies")}
        self.loop = Loop(
            source=ByPart(self._telemetry),
            decider=Decider(Policies(makers)),
            publisher=Publisher(Translator(), self.cache, lambda percent: percent),
            store=Nowhere(),
            switch=lambda: lambda name: None,
            clock=time.monotonic,
            wall_clock=time.time,
            metrics=LoopMetrics(CollectorRegistry()),
        )

    @property
    def loaded(self) -> Loaded:
        """What is in force."""
        return self._pass.loaded

    def take(self, kind: str, items: Sequence[Item]) -> None:
        """As the reflectors hand over a list."""
        with self._timed("objects"):
            self.objects.replace(KINDS[kind], items)

    def put(self, kind: str, item: Item) -> None:
        """As they hand over an event."""
        with self._timed("objects"):
            self.objects.put(KINDS[kind], item)

    async def apply(self) -> None:
        """From the objects to the cache."""
        with self._timed("documents"):
            held = self.objects.all()
            files_of(held, self._pass.holders)
        with self._timed("declared"):
            self._pass = look(self._pass, held, {}, self._meant)
        declared = self.loaded.declared
        with self._timed("endpoints"):
            self._discovery.declare(declared)
            endpoints = await anext(self._watching)
        with self._timed("services"):
            balanced = self._services.of(declared, endpoints)
        with self._timed("telemetry"):
            self._telemetry.declare(wholes(balanced))
        first = not self.cache.groups()
        if first:
            gc.freeze()  # as `weir serve` does
        with self._timed("loop and snapshots"):
            await self.loop.declare(declared, balanced)
        if first:
            gc.freeze()

    async def tick(self) -> float:
        """All services; the CPU seconds of the longest piece in which nothing else could run."""
        longest = begin_s = time.process_time()
        longest = 0.0
        ticking = asyncio.create_task(self.loop.tick(self.loop.names()))
        while not ticking.done():
            await asyncio.sleep(0)
            at_s = time.process_time()
            longest, begin_s = max(longest, at_s - begin_s), at_s
        await ticking
        return longest

    def statuses(self) -> int:
        """What is to be written, of all objects."""
        held = self.objects.all()
        found = conditions(self.loaded.declared, FAR)
        due = self._statuses.due(self.loaded, found, held, held, now())
        return len(due)

    def write(self) -> None:
        """All of it, as if by the API server."""
        found = conditions(self.loaded.declared, FAR)
        held = self.objects.all()
        for key, status in self._statuses.due(self.loaded, found, held, held, now()).items():
            self.objects.put(held[key].resource, _item(held[key], merged({}, status, now())))

    async def close(self) -> None:
        """Let go."""
        async with aclosing(self._watching):
            pass

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begin_s = time.process_time()
        yield
        self.spent[what] = self.spent.get(what, 0.0) + time.process_time() - begin_s


def _item(one: Held, status: Item) -> Item:
    return {**json.loads(one.document), "status": status}


async def measure(services: int, changes: int) -> dict[str, Any]:
    plane = Plane()
    names = [f"s{at}" for at in range(services)]
    lists = {
        "Gateway": [yaml.safe_load(GATEWAY)],
        "HTTPRoute": [route(name) for name in names],
        "Service": [service(name) for name in names],
        "EndpointSlice": [slice_of(name, at) for at, name in enumerate(names)],
    }
    for kind, items in lists.items():
        plane.take(kind, items)
    await plane.apply()
    cold, problems = dict(plane.spent), plane.loaded.problems
    assert not problems, problems[:3]
    plane.write()
    rows, ticks, pieces, looks = [], [], [], []
    edges = plane.cache.views("default/edge")
    for number in range(1, changes + 1):
        plane.spent.clear()
        at = number * 37 % services
        plane.put("EndpointSlice", slice_of(names[at], at, number))
        await plane.apply()
        rows.append(dict(plane.spent))
        assert plane.cache.views("default/edge") is not edges, "nothing new is sent"
        edges = plane.cache.views("default/edge")
        if number % 10 == 0:  # ten changes a second: what else a second brings
            begin_s = time.process_time()
            pieces.append(await plane.tick())
            ticks.append(time.process_time() - begin_s)
            begin_s = time.process_time()
            assert not plane.statuses()
            looks.append(time.process_time() - begin_s)
    await plane.close()
    whole = sorted(sum(row.values()) for row in rows)

    def ms(seconds: float) -> float:
        return round(seconds * 1e3, 2)

    return {
        "what": "CPU time of the process",
        "services": services,
        "endpoints": services * ENDPOINTS,
        "start_ms": ms(sum(cold.values())),
        "start_parts_ms": {what: ms(spent) for what, spent in cold.items()},
        "changes": changes,
        "change_ms": {
            "median": ms(statistics.median(whole)),
            "p99": ms(whole[math.ceil(len(whole) * 0.99) - 1]),
        },
        "change_parts_ms": {
            what: ms(statistics.median(row[what] for row in rows)) for what in rows[0]
        },
        "tick_ms": ms(statistics.median(ticks)),
        "tick_longest_piece_ms": ms(max(pieces)),
        "statuses_ms": ms(statistics.median(looks)),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; shared, load {os.getloadavg()[0]:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=50)
    given = parser.parse_args()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # as `weir serve` has it
    made = asyncio.run(measure(given.services, given.changes))
    text = json.dumps(made, indent=2)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
