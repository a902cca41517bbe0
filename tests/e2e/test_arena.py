"""The arena on the real Envoy: its lanes are what they are called, and a run leaves its report."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from controlplane.lab.arena.contestants import CONTESTANTS, REFERENCE, run_contestant
from controlplane.lab.backends import BackendSpec, run_backends
from controlplane.lab.lanes import run_lane
from controlplane.lab.load import play
from controlplane.lab.schedule import Arrivals, WorkMix, draw_schedule
from controlplane.lab.stock import ROUND_ROBIN, cswrr

pytestmark = pytest.mark.envoy

WORK = WorkMix(means_s=(0.04,), parts=(1.0,))
AT_ONCE = cswrr(blackout_period="0s", weight_update_period="0.2s")


async def test_cswrr_follows_what_backends_say_and_round_robin_does_not(tmp_path: Path) -> None:
    """Four times the speed is four times the requests a second at the same utilisation."""
    schedule = draw_schedule(5, Arrivals(80.0), WORK, duration_s=5.0, envoys=1, warmup_s=0.0)
    lanes = ("cswrr", "round_robin")
    async with (
        run_backends(
            [BackendSpec(speed=2.0), BackendSpec(speed=0.5)],
            tmp_path,
            lanes=lanes,
            orca=("cswrr",),
        ) as backends,
        run_lane(AT_ONCE, backends.ports["cswrr"], tmp_path, envoys=1) as told,
        run_lane(ROUND_ROBIN, backends.ports["round_robin"], tmp_path, envoys=1) as untold,
    ):
        ports = {lane.name: lane.ports for lane in (told, untold)}
        played = await play(schedule, ports, tmp_path)
        counted = await backends.counters()
    assert all(played.lanes[name].errors == 0 for name in lanes)
    (fast, slow), (one, two) = ([each.arrived for each in counted[name]] for name in lanes)
    assert fast > 2 * slow
    assert abs(one - two) <= 2


@pytest.mark.parametrize("name", ["full_scan", "model"])
async def test_a_backend_that_joins_gets_requests_from_then_on(tmp_path: Path, name: str) -> None:
    schedule = draw_schedule(5, Arrivals(60.0), WORK, duration_s=2.0, envoys=1, warmup_s=0.0)
    async with run_backends([BackendSpec()] * 3, tmp_path, lanes=(name,)) as backends:
        ports = backends.ports[name]
        async with run_contestant(
            CONTESTANTS[name], ports[:2], tmp_path, envoys=1, changing=True
        ) as (lane, _):
            await play(schedule, {name: lane.ports}, tmp_path)
            before = await backends.counters()
            assert lane.assign is not None
            lane.assign(ports)
            async with asyncio.timeout(60):
                while not (await backends.counters())[name][2].arrived:
                    played = await play(schedule, {name: lane.ports}, tmp_path)
                    assert played.lanes[name].errors == 0
    assert [one.arrived > 0 for one in before[name]] == [True, True, False]


async def test_a_run_leaves_numbers_a_table_and_a_report_and_can_be_resumed(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Ours\n<!-- arena-table -->\n<!-- /arena-table -->\n")
    options = ["--scenario", "homogeneous", "--lane", REFERENCE, "--lane", "least_request"]
    options += ["--seeds", "1", "--duration", "5", "--warmup", "1", "--to", str(tmp_path / "arena")]
    status, out, err = await _bench(*options, "--readme", str(readme), "--output", "json")
    assert "heat 1 of 1: homogeneous, seed 1: full_scan, least_request" in err
    document = json.loads(out)
    (heat,) = document["heats"]
    assert status == (0 if heat["valid"] else 3), heat["reasons"]
    assert (
        heat["lanes"]["full_scan"]["requests"] == heat["lanes"]["least_request"]["requests"] > 900
    )
    assert document == json.loads((tmp_path / "arena.json").read_text())
    assert (tmp_path / "arena.md").read_text() in readme.read_text()
    assert "data:image/svg+xml;base64," in (tmp_path / "arena.html").read_text()
    if heat["valid"]:
        status, out, err = await _bench(*options, "--resume", "--output", "json")
        assert "heat 1" not in err
        assert json.loads(out)["heats"] == document["heats"]


async def _bench(*options: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane.cli", "bench", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(180):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()
