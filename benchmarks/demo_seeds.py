"""The demo with several seeds: Weir's mean and p99 to those of stock Envoys, and how they spread.

    .venv/bin/python benchmarks/demo_seeds.py
    .venv/bin/python benchmarks/demo_seeds.py --seeds 5 --duration 90 --readme README.md

Writes benchmarks/results/demo_seeds.json and .md; with --readme also between the markers
`<!-- demo-table -->` and `<!-- /demo-table -->` of that file. A run that was not valid is shown and
not counted, and makes the exit status 3.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- demo-table -->", "<!-- /demo-table -->"
OTHERS = {"least_request": "LEAST_REQUEST (P2C)", "full_scan": "FULL_SCAN"}


def play(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "controlplane.cli", "demo", "--output", "json"]
    command += ["--seed", str(seed), "--duration", str(options.duration)]
    command += ["--policy", options.policy, "--scenario", options.scenario]
    command += ["--envoys", str(options.envoys), "--warmup", str(options.warmup)]
    if options.rate is not None:
        command += ["--rate", str(options.rate)]
    print(f"seed {seed}: {' '.join(command[1:])}", file=sys.stderr, flush=True)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, timeout=options.duration + 300, check=False
    )
    lines = done.stdout.strip().splitlines()
    if not lines:
        sys.exit(f"seed {seed}: the demo ended with status {done.returncode} and said nothing")
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def spread(values: list[float]) -> dict[str, float | None]:
    """Mean, least, most, and half the width of a 95 % t-interval of the mean (None for one run)."""
    half = None
    if len(values) > 1:
        t = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
        half = t.get(len(values), 2.0) * statistics.stdev(values) / len(values) ** 0.5
    return {
        "mean": round(statistics.fmean(values), 4),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
        "half_width": None if half is None else round(half, 4),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    valid = [run for run in runs if run["valid"]]
    if not valid:
        return {}
    return {
        other: {
            what: spread([run["ratio"][other][what] for run in valid]) for what in ("mean", "p99")
        }
        for other in OTHERS
    }


def markdown(runs: list[dict[str, Any]], total: dict[str, Any]) -> str:
    first = runs[0]
    rows = [
        "| seed | Weir mean / p99 | to LEAST_REQUEST (P2C) | to FULL_SCAN | requests | "
        "errors: Weir, P2C, FULL_SCAN | |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        weir = run["lanes"]["weir"]
        errors = ", ".join(str(run["lanes"][lane]["errors"]) for lane in ("weir", *OTHERS))
        ratios = [_pair(run["ratio"].get(other)) for other in OTHERS]
        rows.append(
            f"| {run['seed']} | {_ms(weir['mean_ms'])} / {_ms(weir['p99_ms'])} | {ratios[0]} | "
            f"{ratios[1]} | {weir['requests']} | {errors} | {'' if run['valid'] else 'not valid'} |"
        )
    if total:
        cells = [
            " / ".join(_with_spread(total[other][what]) for what in ("mean", "p99"))
            for other in OTHERS
        ]
        rows.append(f"| all | | {cells[0]} | {cells[1]} | | | |")
    valid = sum(run["valid"] for run in runs)
    text = (
        f"Ratios of latency, mean / p99, below 1 is faster; ± is half of a 95 % interval over "
        f"{valid} valid runs. Scenario `{first['scenario']}`, policy `{first['policy']}`, "
        f"{first['envoys']} Envoys a lane, {first['rate_rps']:.0f} requests/s a lane, "
        f"{first['duration_s']:.0f} s after {first['warmup_s']:.0f} s of warm-up, all lanes at the "
        f"same time on {os.cpu_count()} cores. Made by `benchmarks/demo_seeds.py`."
    )
    return "\n".join(rows) + "\n\n" + text + "\n"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _with_spread(of: dict[str, float | None]) -> str:
    half = of["half_width"]
    return f"**{of['mean']:.2f}**" + ("" if half is None else f" ± {half:.2f}")


def _pair(ratio: dict[str, float] | None) -> str:
    return "-" if ratio is None else f"{ratio['mean']:.2f} / {ratio['p99']:.2f}"


def write_between(path: Path, table: str) -> None:
    """Put the table between the markers. Leaves the file alone when they are not there."""
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{path} has no {BEGIN} and {END}: put them where the table belongs")
    path.write_text(f"{before}{BEGIN}\n{table}{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--duration", type=float, default=90.0)
    parser.add_argument("--warmup", type=float, default=20.0)
    parser.add_argument("--policy", default="learned")
    parser.add_argument("--scenario", default="demo")
    parser.add_argument("--envoys", type=int, default=12)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--out", type=Path, default=RESULTS / "demo_seeds")
    parser.add_argument("--readme", type=Path)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs = [play(seed, options) for seed in seeds]
    total = summary(runs)
    table = markdown(runs, total)
    options.out.parent.mkdir(exist_ok=True)
    document = {
        "command": " ".join(["benchmarks/demo_seeds.py", *sys.argv[1:]]),
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "ratio": total,
        "runs": runs,
    }
    options.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table)
    if options.readme is not None:
        write_between(options.readme, table)
    print(table)
    if not all(run["valid"] for run in runs):
        sys.exit(3)


if __name__ == "__main__":
    main()
