"""`examples/07-global-limits` as its README has it: `weir serve`, a real Envoy, a real Redis."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from controlplane.lab.envoy import free_port, run_envoy
from controlplane.lab.redis import run_redis
from controlplane.lab.weir import WeirServe
from controlplane.translate.bootstrap import ads_bootstrap
from tests.envoy.edge import until
from tests.envoy.origin import Origin, running

pytestmark = pytest.mark.envoy

FOLDER = Path(__file__).parents[2] / "examples" / "07-global-limits"


def documents(listen: int, origin: int) -> list[dict[str, Any]]:
    """The example, with ports that are free here."""
    text = "\n---\n".join((FOLDER / name).read_text() for name in ("edge.yaml", "limits.yaml"))
    assert text.count("port: 8080") == text.count("port: 9001") == 1
    ports = text.replace("port: 8080", f"port: {listen}").replace("port: 9001", f"port: {origin}")
    return list(yaml.safe_load_all(ports))


class Example:
    """What the README does."""

    def __init__(self, listen: int, served: WeirServe) -> None:
        self._listen = listen
        self.served = served

    async def send(self, times: int, method: str = "GET", user: str = "") -> list[int]:
        headers: Mapping[str, str] = {"x-user": user} if user else {}
        async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
            url = f"http://127.0.0.1:{self._listen}/"
            return [
                (await client.request(method, url, headers=headers)).status_code
                for _ in range(times)
            ]

    async def metric(self, start: str) -> float:
        _, body = await self.served.get("/metrics")
        lines = body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


@contextlib.asynccontextmanager
async def example(folder: Path, *options: str) -> AsyncIterator[Example]:
    origin, listen, served = Origin("api"), free_port(), WeirServe(folder, options)
    async with running(origin):
        served.declare(documents(listen, origin.port))
        await served.start()
        try:
            await served.wait_ready()
            bootstrap = ads_bootstrap(
                node_id="envoy-1",
                fleet="default/edge",
                xds_port=served.xds_port,
                admin_port=free_port(),
            )
            it = Example(listen, served)
            async with run_envoy(bootstrap, folder):

                async def serves() -> bool:
                    return await it.send(1) == [200]

                await until(serves)
                yield it
        finally:
            await served.stop()


async def test_in_memory_and_by_two_workers(tmp_path: Path) -> None:
    async with example(tmp_path, "--workers", "2") as it:
        assert await it.send(7, user="anna") == [200] * 5 + [429] * 2
        assert await it.send(1, user="berta") == [200]
        assert await it.send(3, method="POST") == [200, 200, 429]
        decisions = 'weir_rate_limit_decisions_total{outcome="over_limit",rule="default/api/'
        assert [await it.metric(f'{decisions}{at}"') for at in (0, 1, 2)] == [2, 1, 0]
        assert await it.metric("weir_rate_limit_counters") >= 4
        await it.served.kill()
        assert await it.send(2, user="anna") == [200, 200]
        assert await it.send(1, method="POST") == [503]


@pytest.mark.redis
async def test_in_a_redis_that_remembers(tmp_path: Path) -> None:
    async with (
        run_redis(tmp_path) as redis,
        example(tmp_path, "--rate-limit-redis-url", redis.url) as it,
    ):
        assert await it.send(6, user="anna") == [200] * 5 + [429]
        assert await it.metric("weir_rate_limit_counters") == 0
        await it.served.kill()
        await it.served.start()
        await it.served.wait_ready()

        async def counts_again() -> bool:
            return await it.send(1, user="anna") == [429]

        await until(counts_again)
        assert redis.url not in it.served.log.read_text()
