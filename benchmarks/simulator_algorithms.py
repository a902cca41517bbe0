"""Balancing algorithms on the simulator, relative to Envoy's default, two random choices.

    python -m benchmarks.simulator_algorithms [--seeds 6] [--docs docs/simulator.md]

Geometric means over families, sizes and seeds, mean / 99th percentile, lower is better; the first
10 s are not counted, which are CSWRR's blackout. `--docs` writes the table between the marks
of that file; everything goes to `benchmarks/results/simulator_algorithms.json`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from controlplane.model import Actuation
from policies.env.stages import Stages
from policies.league.match import outcomes
from policies.league.players import Kind, Player, registry
from policies.simulator import Algorithm, Size, scenario

P2C = Algorithm.LEAST_REQUEST
RESULT = Path(__file__).parent / "results" / "simulator_algorithms.json"
BEGIN, END = "<!-- algorithms: begin -->", "<!-- algorithms: end -->"
LOADS = (0.6, 0.85, 0.95)
FAMILIES = ("homogeneous", "hardware_2x", "hardware_4x", "all_different", "noisy_neighbour",
            "gc_pauses", "degradation", "slow_half_way", "bursty", "mixed_costs")  # fmt: skip


def controlled(
    name: str, policy: str, actuation: Actuation, algorithm: Algorithm = Algorithm.FULL_SCAN
) -> Player:
    return Player(name, name, Kind.BASELINE, algorithm, policy, actuation)


PLAYERS = (
    Player(P2C.name, P2C.name, Kind.STOCK, P2C),
    *(Player(one.name, one.name, Kind.STOCK, one) for one in Algorithm if one is not P2C),
    controlled(
        "pid, endpoint weights, ROUND_ROBIN", "pid", Actuation.ENDPOINTS, Algorithm.ROUND_ROBIN
    ),
    controlled("pid, endpoint weights, LEAST_REQUEST", "pid", Actuation.ENDPOINTS, P2C),
    controlled("model, group weights, FULL_SCAN", "model", Actuation.GROUPS),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    stages = Stages.installed()
    policies = registry(stages, PLAYERS)
    ratios: dict[str, dict[float, list[tuple[float, float]]]] = {}
    for load in LOADS:
        drawn = [
            (replace(scenario(family, seed=seed, size=size), orca=True), seed)
            for family in FAMILIES
            for seed in range(args.seeds)
            for size in (Size(8, (4, 16)[seed % 2], load, 60.0),)
        ]
        base, *others = (outcomes(drawn, one, stages, policies) for one in PLAYERS)
        for player, found in zip(PLAYERS[1:], others, strict=True):
            ratios.setdefault(player.name, {})[load] = [
                (
                    float(np.log(felt.mean_s / stock.mean_s)),
                    float(np.log(felt.quantile_s(0.99) / stock.quantile_s(0.99))),
                )
                for felt, stock in zip(found, base, strict=True)
            ]
    lines = ["| algorithm | " + " | ".join(f"{load:.0%}" for load in LOADS) + " |"]
    lines.append("|---|" + "---|" * len(LOADS))
    document = {}
    for name, by_load in ratios.items():
        means = {load: np.exp(np.mean(all_of, axis=0)) for load, all_of in by_load.items()}
        document[name] = {f"{load:.0%}": m.round(3).tolist() for load, m in means.items()}
        cells = " | ".join(f"{m[0]:.2f} / {m[1]:.2f}" for m in means.values())
        lines.append(f"| {name} | {cells} |")
    table = "\n".join(lines)
    print(table)
    RESULT.write_text(json.dumps({"seeds": args.seeds, "ratios": document}, indent=1) + "\n")
    if args.docs:
        text = args.docs.read_text()
        head, rest = text.split(BEGIN)
        args.docs.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
