"""What a request of the demo costs in CPU: Envoy, backends, generator, Weir; and is there room.

    .venv/bin/python benchmarks/lab_cost.py            writes benchmarks/results/lab_cost.json

Three lanes side by side as in `weir demo`; CPU seconds of each process from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from controlplane.lab.backends import run_backends
from controlplane.lab.lanes import Lane, run_lane
from controlplane.lab.load import play
from controlplane.lab.results import Live
from controlplane.lab.scenarios import scenario_named, stage
from controlplane.lab.stock import FULL_SCAN, LEAST_REQUEST
from controlplane.lab.weir import run_weir_lane

RESULT = Path(__file__).parent / "results" / "lab_cost.json"
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Iterable[int]) -> float:
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) * TICK_S
    return total


def machine() -> tuple[float, float]:
    """Busy and all seconds of all cores since boot."""
    numbers = [int(n) * TICK_S for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(numbers) - numbers[3] - numbers[4], sum(numbers)


def children(of: int) -> dict[str, int]:
    """Command line -> pid of our own children."""
    found = {}
    for pid in Path(f"/proc/{of}/task/{of}/children").read_text().split():
        found[Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")] = int(pid)
    return found


class Meter:
    """CPU seconds of groups of processes between two moments of a run."""

    def __init__(self, lanes: list[Lane], weir: int, until_s: float) -> None:
        self.pids = {f"envoys of {one.name}": [e.process.pid for e in one.envoys] for one in lanes}
        self.pids["weir serve"] = [weir]
        self.spent_s: dict[str, float] = {}
        self.from_s = self.to_s = float("nan")
        self.busy = 0.0
        self._until_s = until_s
        self._machine = (0.0, 0.0)

    def look(self, live: Live) -> None:
        if live.at_s < 0 or self.to_s == self.to_s:
            return
        if self.from_s != self.from_s:
            for command, pid in children(os.getpid()).items():
                for name, module in (
                    ("generator", "load_process"),
                    ("backends", "backend_process"),
                ):
                    if module in command:
                        self.pids[name] = [pid]
            self.from_s, self._machine = live.at_s, machine()
            self.spent_s = {name: -cpu_s(pids) for name, pids in self.pids.items()}
        elif live.at_s >= self._until_s:
            self.to_s = live.at_s
            busy, total = machine()
            self.busy = (busy - self._machine[0]) / (total - self._machine[1])
            for name, pids in self.pids.items():
                self.spent_s[name] += cpu_s(pids)


async def measure(envoys: int, duration_s: float, policy: str) -> dict[str, Any]:
    scenario = scenario_named("demo")
    made = stage(scenario, seed=1, duration_s=duration_s, envoys=envoys, warmup_s=2.0)
    names = ("weir", "least_request", "full_scan")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with (
            run_backends(scenario.backends, folder, lanes=names) as backends,
            run_lane(LEAST_REQUEST, backends.ports[names[1]], folder, envoys=envoys) as choice,
            run_lane(FULL_SCAN, backends.ports[names[2]], folder, envoys=envoys) as scan,
            run_weir_lane(backends.ports["weir"], folder, envoys=envoys, policy=policy) as (
                weir,
                served,
            ),
        ):
            assert served.process is not None
            lanes = [weir, choice, scan]
            meter = Meter(lanes, served.process.pid, duration_s - 1.0)
            played = await play(
                made.schedule, {one.name: one.ports for one in lanes}, folder, on_live=meter.look
            )
    at_s = made.schedule.at_s
    requests = int(((at_s >= meter.from_s) & (at_s < meter.to_s)).sum())
    seconds = meter.to_s - meter.from_s
    in_all = sum(meter.spent_s.values())
    each = {name: round(1e6 * s / requests) for name, s in meter.spent_s.items()}
    for shared in ("backends", "generator"):
        each[shared] = round(each[shared] / len(lanes))
    return {
        "requests_per_lane": requests,
        "seconds": round(seconds, 2),
        "cpu_share_of_a_core": {k: round(v / seconds, 4) for k, v in meter.spent_s.items()},
        "us_per_request": {**each, "all, a lane": round(1e6 * in_all / requests / len(lanes))},
        "cores_used_by_the_demo": round(in_all / seconds, 3),
        "machine_busy": round(meter.busy, 3),
        "generator_lag_ms": {"p50": played.lag.p50_ms, "p99": played.lag.p99_ms},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--envoys", type=int, default=12)
    parser.add_argument("--duration", type=float, default=20.0)
    parser.add_argument("--policy", default="model")
    options = parser.parse_args()
    result = asyncio.run(measure(options.envoys, options.duration, options.policy))
    result["options"] = vars(options)
    result["machine"] = {
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
