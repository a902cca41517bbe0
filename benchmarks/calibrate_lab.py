"""`weir sim calibrate` on real Envoys whose backends are known: what it finds beside the truth.

    python -m benchmarks.calibrate_lab [--duration 90] [--envoys 6] [--rate 280]

Plays the unlike backends of the lab through Weir with policy `equal`, at 50 to 110 % of the rate;
what Weir saw each second is the recording. Written to `benchmarks/results/calibrate_lab.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from controlplane.lab.backends import run_backends
from controlplane.lab.child import raise_file_limit
from controlplane.lab.load import play
from controlplane.lab.scenarios import DEMO, stage
from controlplane.lab.weir import WeirServe, run_weir_lane
from policies.simulator.calibrate import calibrate
from policies.simulator.recording import Recording

RESULT = Path(__file__).parent / "results" / "calibrate_lab.json"
PROFILE = ((0.0, 0.5, ""), (0.3, 0.8, ""), (0.6, 1.1, ""))
WARMUP_S = 10.0


async def record(args: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What Weir told each second; the port of each backend says which it is."""
    scenario = replace(DEMO, moments=(), profile=PROFILE)
    staged = stage(
        scenario,
        seed=1,
        duration_s=args.duration,
        envoys=args.envoys,
        rate_rps=args.rate,
        warmup_s=WARMUP_S,
    )
    told: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="weir-calibrate-") as temporary:
        folder = Path(temporary)
        async with (
            run_backends(scenario.backends, folder, lanes=("weir",), seed=1) as backends,
            run_weir_lane(backends.ports["weir"], folder, envoys=args.envoys, policy="equal") as (
                lane,
                served,
            ),
        ):
            watching = asyncio.create_task(_watch(served, told))
            played = await play(
                staged.schedule, {lane.name: lane.ports}, folder, backends=backends, events=()
            )
            watching.cancel()
            await asyncio.wait({watching})
            truth = {
                f":{port}": one.capacity / scenario.work.mean_s
                for port, one in zip(backends.ports["weir"], scenario.backends, strict=True)
            }
            return told, {"truth": truth, "lag_p99_ms": played.lag.p99_ms}


async def _watch(served: WeirServe, told: list[dict[str, Any]]) -> None:
    while True:
        document = await served.explain()
        if document is not None:
            told.append(document)
        await asyncio.sleep(1.0)


def recording_of(told: list[dict[str, Any]]) -> Recording:
    """Looks with numbers for every endpoint, after the warm-up."""
    names = sorted(one["endpoint"] for one in told[-1]["endpoints"])
    rows: dict[str, list[list[float]]] = {}
    for document in told[int(WARMUP_S) :]:
        by_name = {one["endpoint"]: one for one in document["endpoints"]}
        if set(by_name) != set(names) or by_name[names[0]]["rate_rps"] is None:
            continue
        for name in ("rate_rps", "error_ratio", "latency_s", "latency_p99_s", "in_flight"):
            row = [by_name[one][name] for one in names]
            cells = [np.nan if cell is None else float(cell) for cell in row]
            rows.setdefault(name, []).append(cells)
    table = {name: np.array(values) for name, values in rows.items()}
    errors = np.nan_to_num(table["error_ratio"])
    return Recording(
        tuple(names),
        1.0,
        succeeded=table["rate_rps"] * (1.0 - errors),
        failed=table["rate_rps"] * errors,
        in_flight=table["in_flight"],
        latency_s=table["latency_s"],
        latency_p99_s=table["latency_p99_s"],
        utilisation=np.full_like(errors, np.nan),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=90.0)
    parser.add_argument("--envoys", type=int, default=6)
    parser.add_argument("--rate", type=float, default=280.0)
    args = parser.parse_args()
    raise_file_limit()
    told, facts = asyncio.run(record(args))
    recording = recording_of(told)
    fit = calibrate(recording, proxies=args.envoys)
    found = dict(zip(fit.endpoints, fit.capacity_rps, strict=True))
    rows = []
    for name, capacity in found.items():
        true = facts["truth"][f":{name.rpartition(':')[2]}"]
        rows.append({"endpoint": name, "true_rps": round(true, 1), "found_rps": round(capacity, 1),
                     "gap": round(capacity / true - 1.0, 3)})  # fmt: skip
        print(f"{name:24} true {true:7.1f} found {capacity:7.1f} {capacity / true - 1.0:+.1%}")
    document = fit.document()
    print(f"workers {fit.workers} ({fit.alike_workers}), work {document['work']}")
    print(f"capacity {fit.case.capacity_rps:.0f}, alike {fit.alike}, gap {document['gap']}")
    kept = ("workers", "work", "alike", "distance", "recorded", "simulated", "gap")
    result = {"lag_p99_ms": facts["lag_p99_ms"], "endpoints": rows}
    RESULT.write_text(json.dumps(result | {k: document[k] for k in kept}, indent=1) + "\n")


if __name__ == "__main__":
    main()
