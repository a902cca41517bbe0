"""A change that Envoys take and that fails their requests is taken back from the first of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from controlplane.lab.lanes import run_envoys
from controlplane.lab.weir import gateway_name
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.xds.staging import place
from tests.e2e.scene import Scene, holds, play_scene, until

pytestmark = pytest.mark.envoy

NODES = sorted(("envoy-a", "envoy-b"), key=place)
STAGES = ("--push-stages", "0.01", "--push-bake-s", "4")
"""A share so small takes in one Envoy: the first of the two."""


def bootstrap(scene: Scene, node: str, admin: int) -> dict[str, object]:
    fleet = f"default/{gateway_name(0)}"
    return ads_bootstrap(
        node_id=node, fleet=fleet, xds_port=scene.served.xds_port, admin_port=admin
    )


async def test_a_change_that_fails_requests_is_taken_back_and_a_good_one_goes_on(
    tmp_path: Path,
) -> None:
    async with play_scene(
        tmp_path,
        envoys=1,
        options=STAGES,
        bootstraps=lambda scene: [bootstrap(scene, NODES[0], scene.admins[0])],
    ) as scene:
        second = bootstrap(scene, NODES[1], free_port())
        # On the same port: the kernel gives each connection to one of the two.
        async with run_envoys([second], tmp_path, name="second"):
            answers: Counter[int] = Counter()
            load = asyncio.create_task(requests(scene.listeners[0], answers))
            await until(lambda: both_are_known(scene))
            scene.declared_kind("HTTPRoute")["spec"]["rules"][0]["timeouts"] = {"request": "1ms"}
            scene.write()
            await until(lambda: outcome(scene, "unhealthy"))
            assert answers[504] > 0
            await asyncio.sleep(1.0)
            answers.clear()
            await until(lambda: holds(answers[200] > 50))
            assert set(answers) == {200}
            scene.declared_kind("HTTPRoute")["spec"]["rules"][0]["timeouts"] = {"request": "9s"}
            scene.write()
            await until(lambda: outcome(scene, "done"))
            assert set(answers) == {200}
            load.cancel()
            await asyncio.wait({load})


async def requests(port: int, answers: Counter[int]) -> None:
    """One after the other, of 5 ms, each on a connection of its own."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /5000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            async with asyncio.timeout(10.0):
                answers[int((await reader.readline()).split(b" ")[1])] += 1
        finally:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.01)


async def both_are_known(scene: Scene) -> bool:
    _, body = await scene.served.get("/v1/proxies")
    states = [kind["state"] for one in json.loads(body) for kind in one["types"].values()]
    return len(json.loads(body)) == 2 and set(states) == {"SYNCED"}


async def outcome(scene: Scene, wanted: str) -> bool:
    _, body = await scene.served.get("/metrics")
    return f'weir_xds_staged_pushes_total{{outcome="{wanted}"}} 1.0' in body.decode()
