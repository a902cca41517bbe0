"""Weights of their own for the proxies of each region, on the simulator.

    python -m benchmarks.regions [--seeds 16] [--first 101] [--docs docs/regions.md]

The same requests for LEAST_REQUEST (two choices), FULL_SCAN, `model` that knows no regions, and
`between` (`policies.env.regional`); 8 endpoints, 16 proxies, 40 s, all of it counted. Geometric
means over seeds of the ratios to LEAST_REQUEST, mean / 99th percentile, with 95 % intervals of the
mean by bootstrap. The constants were chosen on seeds below 10. `--docs` writes the table between
the marks of that file; everything goes to `benchmarks/results/regions.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from policies.env.regional import Regional
from policies.env.stages import Stages
from policies.simulator import Outcome, Size, scenario
from policies.training.evaluate import interval, play

FAMILIES = ("two_regions", "three_regions", "slow_region")
LOADS = (0.5, 0.7, 0.85)
STOCK = ("p2c", "equal", "model")
NAMES = {"equal": "FULL_SCAN", "model": "`model`, one for all", "between": "between regions"}
RESULT = Path(__file__).parent / "results" / "regions.json"
BEGIN, END = "<!-- regions: begin -->", "<!-- regions: end -->"


def played(family: str, load: float, seeds: range) -> list[dict[str, Outcome]]:
    """What the requests of each case got under each."""
    stages = Stages.installed()
    cases = [
        (scenario(family, seed=seed, size=Size(endpoints=8, proxies=16, load=load)), seed)
        for seed in seeds
    ]
    stock = play([("seeds", case, seed) for case, seed in cases], policies=STOCK)
    return [
        {**one.outcomes, "between": Regional(stages, case, seed).play()}
        for one, (case, seed) in zip(stock, cases, strict=True)
    ]


def ratios(all_of: list[dict[str, Outcome]], name: str) -> dict[str, list[float]]:
    """[geometric mean, lower, upper] of the ratios to LEAST_REQUEST."""
    mean = [np.log(one[name].mean_s / one["p2c"].mean_s) for one in all_of]
    p99 = [np.log(one[name].quantile_s(0.99) / one["p2c"].quantile_s(0.99)) for one in all_of]
    return {"mean": interval(np.array(mean)), "p99": interval(np.array(p99))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--first", type=int, default=101)
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    seeds = range(args.first, args.first + args.seeds)
    lines = ["| cases | load | " + " | ".join(NAMES.values()) + " |"]
    lines.append("|---|---|" + "---|" * len(NAMES))
    document: dict[str, dict[str, dict[str, list[float]]]] = {}
    for family in FAMILIES:
        for load in LOADS:
            all_of = played(family, load, seeds)
            row = {name: ratios(all_of, name) for name in NAMES}
            document[f"{family} {load:.0%}"] = row
            cells = [
                f"{one['mean'][0]:.2f} [{one['mean'][1]:.2f}, {one['mean'][2]:.2f}]"
                f" / {one['p99'][0]:.2f}"
                for one in row.values()
            ]
            lines.append(f"| {family} | {load:.0%} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    RESULT.write_text(
        json.dumps({"first": args.first, "seeds": args.seeds, "ratios": document}, indent=1) + "\n"
    )
    if args.docs:
        text = args.docs.read_text()
        head, rest = text.split(BEGIN)
        table = "\n".join(lines)
        args.docs.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
