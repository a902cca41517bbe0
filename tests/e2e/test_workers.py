"""Several worker processes on one port: the same fleet, the same promise."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from controlplane.lab.backends import Event, Happening
from controlplane.lab.weir import WeirServe
from tests.e2e.scene import holds, play_scene, under_load, until, until_share

pytestmark = pytest.mark.envoy

RATE_RPS = 120.0
KILLS = 6


async def test_workers_are_killed_under_load_and_weights_go_on_and_no_request_fails(
    tmp_path: Path,
) -> None:
    async with (
        play_scene(tmp_path, options=("--workers", "2")) as scene,
        under_load(scene, RATE_RPS) as load,
    ):
        await until_share(scene, "slow", lambda share: share < 0.35)
        assert len(_workers(scene.served)) == 2
        for i in range(KILLS):
            killed = _workers(scene.served)[i % 2]
            os.kill(killed, signal.SIGKILL)
            await until(lambda: holds(len(set(_workers(scene.served)) - {killed}) == 2))  # noqa: B023
        slow = [Event(0.0, i, Happening.SLOW, 8.0) for i in (0, 1)]  # now the fast class is not
        await scene.backends.script(slow, time.monotonic())
        await until_share(scene, "fast", lambda share: share < 0.4)
        orphans = _workers(scene.served)
        await scene.served.kill()
        await until(lambda: holds(not any(Path(f"/proc/{pid}").exists() for pid in orphans)))
        await scene.served.start()  # on the same port
        await scene.served.wait_ready()
        await asyncio.sleep(1.0)
        process = scene.served.process
        assert process is not None
        process.terminate()
        async with asyncio.timeout(10.0):
            assert await process.wait() == 0, scene.served.tail()
    assert load.errors == 0
    assert load.done > KILLS


def _workers(served: WeirServe) -> list[int]:
    """Process ids of the workers that run, in the order of their age."""
    assert served.process is not None
    pid = served.process.pid
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"controlplane.front.worker" in command:
            found.append(int(child))
    return found
