"""A control plane that dies, or is told to end, is harmless: requests go on, and nothing moves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest

from controlplane.lab.backends import Event, Happening
from controlplane.lab.stock import CLUSTER
from controlplane.model import ServiceName
from controlplane.store import SqlStateStore
from tests.e2e.eds import Answer, EdsClient, recorded
from tests.e2e.scene import (
    Scene,
    holds,
    play_scene,
    under_load,
    until,
    until_share,
    weights_in_force,
    weights_of,
)

pytestmark = pytest.mark.envoy

KILLS = int(os.environ.get("WEIR_KILLS", "20"))
"""How often it is killed; `make kill-50` asks for fifty."""
RATE_RPS = 120.0


async def test_kill_9_under_load_fails_no_request_and_moves_no_weight(tmp_path: Path) -> None:
    async with (
        play_scene(tmp_path) as scene,
        under_load(scene, RATE_RPS) as load,
        recorded(scene.served.xds_port, CLUSTER) as client,
    ):
        await until_share(scene, "slow", lambda share: share < 0.35)
        first = await _killed(scene, client, KILLS // 2)
        slow = [Event(0.0, i, Happening.SLOW, 4.0) for i in (0, 1)]  # now the fast class is not
        await scene.backends.script(slow, time.monotonic())
        await until(lambda: holds(client.newest != first), deadline_s=90.0)
        second = await _killed(scene, client, KILLS - KILLS // 2)
        assert second.version != first.version
        for envoy in scene.envoys:
            await until(lambda envoy=envoy: _follows(envoy, client))  # type: ignore[misc]
    assert load.errors == 0
    assert load.done > KILLS


async def test_sigterm_under_load_ends_it_in_order_and_fails_no_request(tmp_path: Path) -> None:
    async with play_scene(tmp_path) as scene, under_load(scene, RATE_RPS) as load:
        process = scene.served.process
        assert process is not None
        told: set[int] = set()
        process.terminate()
        async with asyncio.timeout(10.0):  # what is promised
            while process.returncode is None:
                with contextlib.suppress(OSError, TimeoutError, ValueError, IndexError):
                    told.add((await scene.served.get("/readyz"))[0])
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 0.01)
        before = load.done
        await until(lambda: holds(load.done > before + RATE_RPS))  # a second without anybody
    assert process.returncode == 0, scene.served.tail()
    assert told <= {200, 503}
    assert load.errors == 0


async def _killed(scene: Scene, client: EdsClient, times: int) -> Answer:
    """Kill it so often; the first answer after each restart equals the last one before the kill."""
    for i in range(times):
        await asyncio.sleep(0.1 * (i % 10))  # at another moment of the tick each time
        await scene.served.kill()
        await until(lambda: holds(not client.connected))
        before, streams = client.newest, len(client.streams)
        saved = await _saved(scene)
        await scene.served.start()
        await until(lambda: holds(len(client.streams) > streams))  # noqa: B023
        await scene.served.wait_ready()
        after = client.streams[streams][0]
        if saved == weights_of(before.body):
            assert after == before, f"kill {i + 1}"
        else:  # it died between saving and sending: what was decided last is sent now
            assert weights_of(after.body) == saved, f"kill {i + 1}"
    return client.newest


async def _saved(scene: Scene) -> dict[str, int]:
    """{endpoint: weight} as the dead process left it."""
    store = SqlStateStore.in_folder(scene.folder / "state")
    try:
        last = (await store.load())[ServiceName(CLUSTER)]
    finally:
        await store.close()
    group_of = last.grouping.index.tolist()
    weights = [last.weights.by_group[group] for group in group_of]
    return dict(zip(map(str, last.grouping.endpoints), weights, strict=True))


async def _follows(envoy: object, client: EdsClient) -> bool:
    """Whether this Envoy came back and has what the client has."""
    return await weights_in_force(envoy) == weights_of(client.newest.body)  # type: ignore[arg-type]
