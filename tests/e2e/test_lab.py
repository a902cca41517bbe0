"""The demo's lanes on the real Envoy, and that nothing of them is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from controlplane.lab.backends import BackendSpec, run_backends
from controlplane.lab.demo import DemoOptions, run_demo
from controlplane.lab.lanes import run_lane
from controlplane.lab.load import play
from controlplane.lab.schedule import Arrivals, WorkMix, draw_schedule
from controlplane.lab.stock import FULL_SCAN, LEAST_REQUEST
from controlplane.lab.view import PlainView, open_view

pytestmark = pytest.mark.envoy

STOCK_LANES = ("least_request", "full_scan")
RECEIVED = "http.http-[0-9]+.downstream_rq_total"
SMALL = ["--envoys", "1", "--rate", "60", "--warmup", "1"]


async def test_both_stock_lanes_answer_every_request(tmp_path: Path) -> None:
    schedule = draw_schedule(5, Arrivals(60.0), WorkMix(), duration_s=3.0, envoys=2, warmup_s=0.5)
    specs = [BackendSpec(speed=2.0), BackendSpec(speed=1.0), BackendSpec(speed=1.0)]
    async with (
        run_backends(specs, tmp_path, lanes=STOCK_LANES) as backends,
        run_lane(LEAST_REQUEST, backends.ports["least_request"], tmp_path, envoys=2) as p2c,
        run_lane(FULL_SCAN, backends.ports["full_scan"], tmp_path, envoys=2) as scan,
    ):
        played = await play(schedule, {lane.name: lane.ports for lane in (p2c, scan)}, tmp_path)
        counted = await backends.counters()
        dumps = [await lane.envoys[0].get("/config_dump") for lane in (p2c, scan)]
        received = {
            lane.name: [await envoy.stats(RECEIVED) for envoy in lane.envoys]
            for lane in (p2c, scan)
        }
    for lane in (p2c, scan):
        run = played.lanes[lane.name]
        assert run.requests == int(schedule.counted.sum())
        assert run.errors == 0
        asked = len(schedule.at_s) + 2  # one more of each Envoy, to see that it serves
        assert sum(one.arrived for one in counted[lane.name]) == asked
        by_envoy = [sum(stats.values()) for stats in received[lane.name]]
        assert sum(by_envoy) == asked
        assert by_envoy[0] == int((schedule.envoy == 0).sum()) + 1
    assert "FULL_SCAN" not in dumps[0]
    assert "FULL_SCAN" in dumps[1]


async def test_a_run_of_stock_lanes_alone_claims_nothing_of_weir() -> None:
    options = DemoOptions(duration_s=2.0, warmup_s=0.5, envoys=1, rate_rps=40.0, lanes=STOCK_LANES)
    console = Console(quiet=True)
    report = await run_demo(options, PlainView(console, console))
    document = report.to_json()
    assert list(document["lanes"]) == list(STOCK_LANES)
    assert document["ratio"] == {}
    assert document["lanes"]["full_scan"]["requests"] > 0
    assert document["lanes"]["full_scan"]["errors"] == 0


async def test_the_demo_ends_with_one_json_object_on_stdout() -> None:
    process = await asyncio.create_subprocess_exec(
        *_command("--duration", "4", "--policy", "model", "--output", "json", *SMALL),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert out.count(b"\n") == 1, err.decode()
    document = json.loads(out)
    assert set(document["lanes"]) == {"weir", *STOCK_LANES}
    assert set(document["ratio"]) == set(STOCK_LANES)
    assert document["lanes"]["weir"]["errors"] == 0
    assert process.returncode == (0 if document["valid"] else 3)
    assert b"warming up for 1 s" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_no_process_outlives_the_demo(number: signal.Signals, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *_command("--duration", "60", "--policy", "model", *SMALL),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # kill -9 leaves the folder
    )
    assert process.stderr is not None
    children: set[int] = set()
    try:
        async with asyncio.timeout(120):
            while b"warming up" not in await process.stderr.readline():
                pass
            while len(children) < 6:  # 3 Envoys, backends, generator, weir serve
                children = _descendants(process.pid)
                await asyncio.sleep(0.1)
            process.send_signal(number)
            await process.stderr.read()
            await process.wait()
        assert process.returncode != 0
        assert await _gone(children), "processes were left behind"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_the_view_is_lines_where_there_is_no_terminal() -> None:
    with open_view(Console(quiet=True)) as view:
        assert type(view) is PlainView


def _command(*options: str) -> list[str]:
    return [sys.executable, "-m", "controlplane.cli", "demo", *options]


def _descendants(root: int) -> set[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _stat(int(folder.name))
            if fields is not None:
                parents[int(folder.name)] = int(fields[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def _stat(pid: int) -> list[str] | None:
    """The fields after the name: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


async def _gone(pids: Iterable[int], deadline_s: float = 30.0) -> bool:
    """Whether all have ended before the deadline; one that nobody has waited for has ended too."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        states = [fields[0] for pid in pids if (fields := _stat(pid)) is not None]
        if set(states) <= {"Z", "X"}:
            return True
        await asyncio.sleep(0.1)
    return False
