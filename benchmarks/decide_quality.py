"""What the ways of acting are worth, on the simulator: groups, endpoints, with and without ORCA.

    python -m benchmarks.decide_quality [--seeds 3] [--first-seed 1] [--quick]

The fleet of the demo, and few cases that differ by one thing each, to choose rules by; what the
policies are worth on cases that nothing was chosen by is the league (`weir evaluate`), whose
matches these are. Printed and written to `benchmarks/results/` are the mean and the 99th percentile
relative to FULL_SCAN (geometric means over the seeds, lower is better), and the errors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from controlplane.decide import grouping
from controlplane.model import Actuation
from policies.env.stages import Stages
from policies.league.match import outcomes
from policies.league.players import FULL_SCAN, P2C, Player, everybody, registry, those
from policies.simulator import Case, Outcome, Size, Station, Steps, Traffic, Work, scenario

RESULT = Path(__file__).parent / "results" / "decide_quality.json"
GROUPING_RESULT = RESULT.with_name("decide_grouping.json")
DURATION_S = 60.0
DEMO_SPEEDS = (2.0, 2.0, 1.5, 1.5, 1.0, 1.0, 0.5, 0.5)

ORCA = "model, ORCA"
"""The one player whose endpoints say how busy they are."""


def players() -> tuple[Player, ...]:
    """FULL_SCAN first."""
    known = {one.name: one for one in everybody()}
    model = replace(known["model"], actuation=Actuation.GROUPS)
    endpoints = replace(model, name="model, endpoints", actuation=Actuation.ENDPOINTS)
    named = [known[name] for name in (FULL_SCAN, P2C, "capacity")]
    return (*named, model, replace(model, name=ORCA), endpoints, known["learned"])


def cases(seed: int, loads: tuple[float, ...]) -> Iterator[tuple[str, Case]]:
    """The demo's fleet, then families of the simulator."""
    yield "demo (12 proxies, slow half-way)", _demo(280.0)
    for load in loads:
        for family, proxies in (
            ("homogeneous", 2),
            ("homogeneous", 12),
            ("hardware_2x", 4),
            ("hardware_2x", 16),
            ("hardware_4x", 4),
            ("hardware_4x", 16),
            ("all_different", 12),
            ("sparse", 32),
            ("slow_half_way", 12),
            ("flash_crowd", 12),
        ):
            size = Size(endpoints=8, proxies=proxies, load=load, duration_s=DURATION_S)
            yield f"{family}, {proxies} proxies, {load:.0%}", scenario(family, seed=seed, size=size)


def _demo(rate_rps: float) -> Case:
    """8 backends of 4 workers, speeds 4 to 1, 80 ms of work; the third turns 4 times slower."""
    mean = sum(DEMO_SPEEDS) / len(DEMO_SPEEDS)
    speeds = [Steps.of(speed / mean) for speed in DEMO_SPEEDS]
    speeds[2] = Steps((0.0, DURATION_S / 2.0), (1.5 / mean, 1.5 / mean / 4.0))
    return Case(
        name="demo",
        stations=tuple(Station(workers=4, speed=speed) for speed in speeds),
        traffic=Traffic(Steps.of(rate_rps)),
        work=Work(0.08),
        proxies=12,
        duration_s=DURATION_S,
    )


def felt(
    drawn: Sequence[tuple[Case, int]], playing: Sequence[Player]
) -> list[list[tuple[float, float, float]]]:
    """For each player, for each case: mean, 99th percentile, part that failed."""
    stages = Stages.installed()
    policies = registry(stages, playing)

    def of(outcome: Outcome) -> tuple[float, float, float]:
        return outcome.mean_s, outcome.quantile_s(0.99), outcome.error_ratio

    return [
        [
            of(one)
            for one in outcomes(
                [(replace(case, orca=player.name == ORCA), seed) for case, seed in drawn],
                player,
                stages,
                policies,
            )
        ]
        for player in playing
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--first-seed", type=int, default=1, help="others than a rule was chosen on"
    )
    parser.add_argument("--loads", default="0.5,0.7,0.85,0.95")
    parser.add_argument("--grouping", action="store_true", help="where one group is better")
    parser.add_argument("--quick", action="store_true", help="one seed, loads of 70 and 90 %%")
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + (1 if args.quick else args.seeds))
    loads = (0.7, 0.9) if args.quick else tuple(float(x) for x in args.loads.split(","))
    if args.grouping:
        study_grouping(seeds)
        return
    begun = time.monotonic()
    playing = players()
    ratios: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    base: dict[str, list[tuple[float, float, float]]] = {}
    for seed in seeds:
        names, drawn = zip(*cases(seed, loads), strict=True)
        stock, *others = felt([(case, seed) for case in drawn], playing)
        for i, name in enumerate(names):
            base.setdefault(name, []).append(stock[i])
            for player, got in zip(playing[1:], others, strict=True):
                ratio = (got[i][0] / stock[i][0], got[i][1] / stock[i][1], got[i][2])
                ratios.setdefault(name, {}).setdefault(player.name, []).append(ratio)
    rows = report(base, ratios)
    document = {
        "what": "mean and p99 latency relative to LEAST_REQUEST with FULL_SCAN, and error ratios",
        "seeds": list(seeds),
        "loads": list(loads),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with other work",
        "seconds": round(time.monotonic() - begun),
        "rows": rows,
    }
    if not args.quick:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(document, indent=1) + "\n")


def study_grouping(seeds: range) -> None:
    """`model` with classes, however much a proxy sees, against FULL_SCAN; see docs/decide.md."""
    grouping.SEEN_ENOUGH = grouping.SEEN_LITTLE = float("inf")
    playing = those([FULL_SCAN, "model"])
    rows = []
    for proxies in (1, 2, 4, 6, 12):
        row: dict[str, object] = {"proxies": proxies}
        for load in (0.5, 0.7, 0.9):
            size = Size(endpoints=8, proxies=proxies, load=load, duration_s=DURATION_S)
            drawn = [
                (scenario("hardware_4x", seed=seed, size=size, work=Work(0.05)), seed)
                for seed in seeds
            ]
            stock, got = (np.array(one)[:, :2] for one in felt(drawn, playing))
            mean, p99 = np.exp(np.log(got / stock).mean(axis=0)).round(2).tolist()
            row[f"{load:.0%}"] = {"mean": mean, "p99": p99}
        rows.append(row)
        print(row, flush=True)
    GROUPING_RESULT.write_text(json.dumps({"seeds": list(seeds), "rows": rows}, indent=1) + "\n")


def report(
    base: dict[str, list[tuple[float, float, float]]],
    ratios: dict[str, dict[str, list[tuple[float, float, float]]]],
) -> list[dict[str, object]]:
    """Print the table; return it."""
    names = [player.name for player in players()[1:]]
    print(f"{'case':40} {'full scan ms':>13}", *(f"{name:>17}" for name in names))
    rows: list[dict[str, object]] = []
    everything: dict[str, list[list[float]]] = {name: [] for name in names}
    for case, by_player in ratios.items():
        stock = np.array(base[case]).mean(axis=0)
        row: dict[str, object] = {
            "case": case,
            "full_scan": {"mean_ms": round(1e3 * stock[0], 1), "p99_ms": round(1e3 * stock[1], 1)},
        }
        cells = []
        for name in names:
            values = np.array(by_player[name])
            mean, p99 = np.exp(np.log(values[:, :2]).mean(axis=0)).tolist()
            errors = float(values[:, 2].mean())
            everything[name].append([mean, p99])
            row[name] = {"mean": round(mean, 3), "p99": round(p99, 3), "errors": round(errors, 5)}
            cells.append(f"{mean:6.2f} {p99:5.2f} {errors:4.1%}")
        rows.append(row)
        print(
            f"{case:40} {1e3 * stock[0]:6.0f} {1e3 * stock[1]:6.0f}", *(f"{c:>17}" for c in cells)
        )
    total = {
        name: np.exp(np.log(np.array(values)).mean(axis=0)) for name, values in everything.items()
    }
    print(
        f"{'geometric mean':40} {'':13}",
        *(f"{total[name][0]:6.2f} {total[name][1]:5.2f}     " for name in names),
    )
    rows.append(
        {"case": "geometric mean"}
        | {name: {"mean": round(t[0], 3), "p99": round(t[1], 3)} for name, t in total.items()}
    )
    return rows


if __name__ == "__main__":
    main()
