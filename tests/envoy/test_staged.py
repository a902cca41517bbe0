"""Pushes in stages to real Envoys: what one of them refuses never reaches the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.cluster import v3 as cluster_v3

from controlplane.lab.envoy import Envoy, free_port, run_envoy
from controlplane.model import Snapshot
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.kinds import CLUSTER, ENDPOINT, LISTENER, RUNTIME
from controlplane.xds.staged import Outcome, Plan, StagedSink
from controlplane.xds.staging import place
from controlplane.xds.status import Client
from tests.envoy.test_xds import FLEET, assignment, cluster, eventually

pytestmark = [pytest.mark.envoy]

NODES = sorted(("envoy-a", "envoy-b"), key=place)
PLAN = Plan(shares=(0.01,), ack_s=20.0, bake_s=0.5, look_s=0.1)
"""A share so small takes in one Envoy: the first of the two."""


@dataclass
class Staged:
    sink: StagedSink
    server: XdsServer
    envoys: dict[str, Envoy]

    def publish(self, **limits: int) -> None:
        """Clusters with these limits of requests; a negative one: a cluster by EDS that does
        not say where from, which Envoy refuses.
        """
        clusters = {name: limited(name, requests) for name, requests in limits.items()}
        weights = {name: assignment(name, {9: 1}) for name in limits}
        resources = {CLUSTER: clusters, ENDPOINT: weights, LISTENER: {}, RUNTIME: {}}
        self.sink.publish(Snapshot(FLEET, resources))

    async def limit(self, node: str, name: str = "web") -> str:
        """The limit that an Envoy has in force."""
        for line in (await self.envoys[node].get("/clusters")).splitlines():
            if line.startswith(f"{name}::default_priority::max_requests::"):
                return line.rpartition("::")[2]
        return ""


def limited(name: str, requests: int) -> bytes:
    if requests < 0:
        return bytes(cluster_v3.Cluster(name=name, type=cluster_v3.ClusterDiscoveryType.EDS))
    limit = cluster_v3.CircuitBreakersThresholds(max_requests=requests)
    return cluster(name, cluster_v3.CircuitBreakers(thresholds=[limit]))


@contextlib.asynccontextmanager
async def two_envoys(folder: Path, *, delta: bool) -> AsyncIterator[Staged]:
    cache = SnapshotCache()
    server = XdsServer(cache, address="127.0.0.1:0")

    async def clients(fleet: str) -> Sequence[Client]:
        return server.clients(fleet)

    sink = StagedSink(cache, clients, PLAN)
    await server.start()
    running = asyncio.create_task(sink.run())
    await asyncio.sleep(0)
    staged = Staged(sink, server, {})
    staged.publish(web=10)
    try:
        async with contextlib.AsyncExitStack() as stack:
            for node in NODES:
                bootstrap = ads_bootstrap(
                    node_id=node,
                    fleet=FLEET,
                    xds_port=server.port,
                    admin_port=free_port(),
                    delta=delta,
                    load_reports=False,
                )
                (folder / node).mkdir()
                envoy = await stack.enter_async_context(run_envoy(bootstrap, folder / node))
                staged.envoys[node] = envoy
            for node in NODES:
                await eventually(lambda node=node: has_limit(staged, node, 10), "the first limit")  # type: ignore[misc]
            yield staged
    finally:
        running.cancel()
        await asyncio.wait({running})
        await server.stop(0.5)


async def has_limit(staged: Staged, node: str, limit: int) -> bool:
    return await staged.limit(node) == str(limit)


@pytest.fixture(params=["sotw", "delta"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "delta")


async def test_a_change_reaches_one_envoy_and_then_the_other(tmp_path: Path, delta: bool) -> None:
    async with two_envoys(tmp_path, delta=delta) as staged:
        staged.publish(web=20)
        await eventually(lambda: has_limit(staged, NODES[0], 20), "the first has it")
        assert await staged.limit(NODES[1]) == "10"
        assert not staged.sink.outcomes
        await eventually(lambda: has_limit(staged, NODES[1], 20), "the second has it")
        assert staged.sink.outcomes == {Outcome.DONE: 1}


async def test_what_the_first_refuses_never_reaches_the_second(tmp_path: Path, delta: bool) -> None:
    async with two_envoys(tmp_path, delta=delta) as staged:
        pushes = {node: received(await staged.envoys[node].stats("cds.update")) for node in NODES}
        staged.publish(web=-1)

        async def refused() -> bool:
            return staged.sink.outcomes[Outcome.REFUSED] == 1

        await eventually(refused, "the first refuses it")
        staged.publish(web=30)
        for node in NODES:
            await eventually(lambda node=node: has_limit(staged, node, 30), "what is right")  # type: ignore[misc]
        now = {node: received(await staged.envoys[node].stats("cds.update")) for node in NODES}
        assert now[NODES[0]]["rejected"] - pushes[NODES[0]]["rejected"] == 1
        assert now[NODES[1]]["rejected"] == pushes[NODES[1]]["rejected"]


def received(stats: dict[str, int]) -> dict[str, int]:
    return {
        kind: sum(value for name, value in stats.items() if name.endswith(f"cds.update_{kind}"))
        for kind in ("rejected", "success")
    }
