"""Two servers with the same content, and one of them goes away."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.envoy import Envoy, free_port, run_envoy
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.kinds import ENDPOINT
from tests.envoy.test_xds import (
    FLEET,
    Resources,
    assignment,
    backend,
    eventually,
    one_service,
)

pytestmark = [pytest.mark.envoy]

MOVES = 4
MOVED_S = 45.0
"""Envoy waits longer after each attempt that failed, up to 5 s, and the one that is gone is among
those that it tries."""
WATCHED = "cds.version|eds.version|cluster_added|cluster_modified|lds.listener|update_rejected"


@dataclass
class Replica:
    """One of the two, on a port that stays."""

    resources: Resources
    port: int = 0
    server: XdsServer | None = None
    cache: SnapshotCache = field(default_factory=SnapshotCache)

    async def start(self) -> None:
        """With a cache of its own: only content decides what a version is called."""
        cache = self.cache = SnapshotCache()
        # Another order, and another history, than the other replica's.
        cache.set(FLEET, {url: {} for url in self.resources})
        cache.set(FLEET, {url: self.resources[url] for url in reversed(list(self.resources))})
        self.server = XdsServer(cache, address=f"127.0.0.1:{self.port}")
        await self.server.start()
        self.port = self.server.port

    async def stop(self) -> None:
        """At once, as if the machine had gone."""
        server, self.server = self.server, None
        if server is not None:
            await server.stop(0.0)

    @property
    def serves(self) -> bool:
        """Whether the Envoy is here, and has asked for everything."""
        clients = self.server.clients() if self.server is not None else ()
        return bool(clients) and len(clients[0].types) == 5


def with_both(bootstrap: dict[str, Any], port: int) -> dict[str, Any]:
    """A second endpoint for the cluster of the control plane."""
    made = copy.deepcopy(bootstrap)
    (weir,) = (one for one in made["static_resources"]["clusters"] if one["name"] == "weir")
    endpoints = weir["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoints.append(copy.deepcopy(endpoints[0]))
    endpoints[1]["endpoint"]["address"]["socket_address"]["port_value"] = port
    return made


@contextlib.asynccontextmanager
async def two(
    folder: Path, resources: Resources, *, delta: bool
) -> AsyncIterator[tuple[Envoy, tuple[Replica, Replica]]]:
    replicas = Replica(resources), Replica(resources)
    for one in replicas:
        await one.start()
    bootstrap = ads_bootstrap(
        node_id="envoy-1",
        fleet=FLEET,
        xds_port=replicas[0].port,
        admin_port=free_port(),
        delta=delta,
        load_reports=False,
    )
    try:
        async with run_envoy(with_both(bootstrap, replicas[1].port), folder) as envoy:
            yield envoy, replicas
    finally:
        for one in replicas:
            await one.stop()


@pytest.fixture(params=["sotw", "delta"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "delta")


async def test_an_envoy_that_moves_to_the_other_replica_changes_nothing_and_fails_nothing(
    tmp_path: Path, delta: bool
) -> None:
    port = free_port()
    statuses: list[int] = []

    async def requests() -> None:
        while True:
            statuses.append(await get(port))
            await asyncio.sleep(0.005)

    async with backend("a") as a:
        resources = one_service(port, {a.port: 3})
        async with two(tmp_path, resources, delta=delta) as (envoy, replicas):

            async def through() -> bool:
                return await get(port) == 200

            await eventually(through, "a request goes through")
            before = await envoy.stats(WATCHED)
            load = asyncio.create_task(requests())
            for _ in range(MOVES):
                here = next(one for one in replicas if one.serves)
                there = next(one for one in replicas if one is not here)
                await here.stop()

                async with asyncio.timeout(MOVED_S):
                    while not there.serves:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                assert await envoy.stats(WATCHED) == before
                await here.start()
            load.cancel()
            await asyncio.wait({load})
            assert load.cancelled()
            assert len(statuses) > 10 * MOVES
            assert set(statuses) == {200}
            changed = {"web": assignment("web", {a.port: 7})}
            for one in replicas:
                one.cache.set(FLEET, {**resources, ENDPOINT: changed})

            async def weight() -> bool:
                return "::weight::7" in await envoy.get("/clusters")

            await eventually(weight, "a change still comes through")


async def get(port: int) -> int:
    """Status of a request; 0 where there was no answer."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        async with asyncio.timeout(10.0):
            head = await reader.readline()
    except OSError:
        return 0
    finally:
        writer.close()
    return int(head.split(b" ")[1]) if head else 0
