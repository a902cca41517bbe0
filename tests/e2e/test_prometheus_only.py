"""A fleet without access logs and load reports: a real Prometheus scrapes the Envoys, Weir asks it.

And what Weir does when that Prometheus says NaN, says the same for ever, or is gone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from controlplane.lab.prometheus import Prometheus, Scrape, run_prometheus
from tests.e2e.scene import (
    Scene,
    holds,
    play_scene,
    under_load,
    until,
    weights_in_force,
)
from tests.e2e.spoiler import Spoiler, spoiler

pytestmark = [pytest.mark.envoy, pytest.mark.prometheus]

NOTHING_MOVES = {"stale", "missing", "recovering", "coverage"}


async def test_weights_move_from_prometheus_alone_and_stand_when_it_fails(tmp_path: Path) -> None:
    running: list[tuple[Prometheus, Spoiler]] = []

    @contextlib.asynccontextmanager
    async def scraped(scene: Scene) -> AsyncIterator[Sequence[str]]:
        targets = tuple(f"127.0.0.1:{port}" for port in scene.admins)
        scrape = Scrape("envoy", targets, "/stats/prometheus", interval_s=1.0)
        async with (
            run_prometheus(tmp_path, scrape) as prometheus,
            spoiler(prometheus.url) as between,
        ):
            running.append((prometheus, between))
            yield ("--source", "prometheus", "--prometheus-url", between.url)

    async with play_scene(tmp_path, load_reports=False, before=scraped) as scene:
        ((prometheus, between),) = running
        async with under_load(scene, 120.0) as load:
            await until(lambda: _slow_in_envoys(scene, below=0.35))
            dump = json.loads(await scene.envoys[0].get("/config_dump"))
            assert '"access_log":' not in json.dumps(dump)
            assert '"load_stats_config":' not in json.dumps(dump)
            for fault in ("nan", "frozen", "gone"):
                if fault == "gone":
                    prometheus.process.kill()
                between.fault = fault if fault != "gone" else ""
                await until(lambda: _any_reason(scene, NOTHING_MOVES))
                before, asked = await scene.shares(), between.asked
                await until(lambda: holds(between.asked >= asked + 4))  # noqa: B023
                assert await scene.shares() == before, fault
                assert await _any_reason(scene, NOTHING_MOVES), fault
                if fault != "gone":
                    between.fault = ""
                    await until(lambda: _no_reason(scene, NOTHING_MOVES))
        status, page = await scene.served.get("/metrics")
        assert status == 200
        assert b"weir_source_failures_total{" in page
        assert load.errors == 0
        assert load.done > 0


async def test_without_any_numbers_shares_are_even_and_requests_go_on(tmp_path: Path) -> None:
    nowhere = ("--source", "prometheus", "--prometheus-url", "http://127.0.0.1:9")
    async with play_scene(tmp_path, load_reports=False, options=nowhere) as scene:
        async with under_load(scene, 60.0) as load:
            reasons = await until(lambda: _any_reason(scene, {"stale"}))
            assert await scene.share_of("slow") == pytest.approx(0.5)
            for envoy in scene.envoys:
                weights = await weights_in_force(envoy)
                assert len(set(weights.values())) == 1
        assert reasons
        assert load.errors == 0


async def _slow_in_envoys(scene: Scene, below: float) -> bool:
    """Whether the slow class has less than this in every real Envoy."""
    slow = set(scene.of_kind("slow"))
    for envoy in scene.envoys:
        weights = await weights_in_force(envoy)
        part = sum(weight for one, weight in weights.items() if one in slow)
        if not weights or part >= below * sum(weights.values()):
            return False
    return True


async def _any_reason(scene: Scene, codes: set[str]) -> bool:
    return bool(codes & (await scene.reasons()).keys())


async def _no_reason(scene: Scene, codes: set[str]) -> bool:
    told = await scene.served.explain()
    return told is not None and not codes & {one["code"] for one in told["reasons"]}
