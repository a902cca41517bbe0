"""The demo's scenario: Weir on access logs and load reports, Weir on a Prometheus alone, FULL_SCAN.

All three lanes are played side by side under the same requests. The Envoys of the second Weir lane
send nothing: a real Prometheus scrapes their per-endpoint stats every second, and Weir asks it.

    .venv/bin/python benchmarks/prometheus_only.py --duration 60 --policy learned

Writes benchmarks/results/prometheus_only.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # Envoys are started beside gRPC

from controlplane.lab.backends import run_backends
from controlplane.lab.lanes import Lane, run_lane
from controlplane.lab.load import play
from controlplane.lab.ports import free_ports
from controlplane.lab.prometheus import Scrape, run_prometheus
from controlplane.lab.report import compare
from controlplane.lab.results import Played
from controlplane.lab.scenarios import Stage, scenario_named, stage
from controlplane.lab.stock import FULL_SCAN
from controlplane.lab.weir import WeirServe, run_weir_lane

RESULT = Path(__file__).parent / "results" / "prometheus_only.json"
REPORTS, SCRAPED, STOCK = "weir_reports", "weir_prometheus", "full_scan"


async def run(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    acts = stage(
        scenario_named(options.scenario),
        seed=seed,
        duration_s=options.duration,
        envoys=options.envoys,
        rate_rps=options.rate,
        warmup_s=options.warmup,
    )
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as temporary:
        folder = Path(temporary)
        for name in (REPORTS, SCRAPED):
            (folder / name).mkdir()
        ports = free_ports(2 * options.envoys)
        admins = tuple(f"127.0.0.1:{port}" for port in ports[options.envoys :])
        names = (REPORTS, SCRAPED, STOCK)
        async with (
            run_backends(acts.scenario.backends, folder, lanes=names, seed=seed) as backends,
            run_lane(FULL_SCAN, backends.ports[STOCK], folder, envoys=options.envoys) as stock,
            run_weir_lane(
                backends.ports[REPORTS],
                folder / REPORTS,
                envoys=options.envoys,
                policy=options.policy,
                name=REPORTS,
            ) as (first, reported),
            run_prometheus(folder, Scrape("envoy", admins, "/stats/prometheus", 1.0)) as prometheus,
            run_weir_lane(
                backends.ports[SCRAPED],
                folder / SCRAPED,
                envoys=options.envoys,
                policy=options.policy,
                name=SCRAPED,
                ports=ports,
                load_reports=False,
                options=("--source", "prometheus", "--prometheus-url", prometheus.url),
            ) as (second, scraped),
        ):
            lanes: tuple[Lane, ...] = (first, second, stock)
            weights: dict[str, list[Any]] = {REPORTS: [], SCRAPED: []}
            watching = asyncio.create_task(_watch({REPORTS: reported, SCRAPED: scraped}, weights))
            try:
                played = await play(
                    acts.schedule,
                    {lane.name: lane.ports for lane in lanes},
                    folder,
                    backends=backends,
                    events=acts.events,
                )
            finally:
                watching.cancel()
                await asyncio.wait({watching})
    return _row(seed, acts, played, weights)


async def _watch(served: dict[str, WeirServe], weights: dict[str, list[Any]]) -> None:
    """Every change of weights in each Weir lane, and who decided."""
    while True:
        for name, one in served.items():
            told = await one.explain()
            if told is not None:
                now = [told["policy"], *(group["weight"] for group in told["groups"])]
                if not weights[name] or weights[name][-1] != now:
                    weights[name].append(now)
        await asyncio.sleep(1.0)


def _row(seed: int, acts: Stage, played: Played, weights: dict[str, list[Any]]) -> dict[str, Any]:
    ratios = {}
    for ours, theirs in ((REPORTS, STOCK), (SCRAPED, STOCK), (SCRAPED, REPORTS)):
        ratio = compare(played.lanes[ours], played.lanes[theirs])
        if ratio is not None:
            ratios[f"{ours} / {theirs}"] = {
                "mean": round(ratio.mean, 4),
                "p99": round(ratio.p99, 4),
                "mean_interval": [round(x, 4) for x in ratio.mean_interval],
                "p99_interval": [round(x, 4) for x in ratio.p99_interval],
            }
    return {
        "seed": seed,
        "lanes": {name: run.summary() for name, run in played.lanes.items()},
        "ratio": ratios,
        "weights_changed": {name: len(seen) - 1 for name, seen in weights.items()},
        "decided_by": {name: sorted({one[0] for one in seen}) for name, seen in weights.items()},
        "problems": list(played.problems()),
    }


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--duration", type=float, default=60.0)
    parser.add_argument("--warmup", type=float, default=20.0)
    parser.add_argument("--envoys", type=int, default=12)
    parser.add_argument("--rate", type=float, default=None)
    parser.add_argument("--policy", default="learned")
    parser.add_argument("--scenario", default="demo")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for seed in range(1, options.seeds + 1):
        rows.append(await run(options, seed))
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "what": "latency by where Weir's numbers come from; ratios below 1 are faster",
        "options": vars(options),
        "runs": rows,
        "machine": {"cpus": os.cpu_count(), "note": "all lanes at the same time"},
        "command": " ".join([".venv/bin/python", "benchmarks/prometheus_only.py", *sys.argv[1:]]),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    return 3 if any(row["problems"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
