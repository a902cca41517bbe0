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

from benchmarks.decide_quality import SKIPPED_S, Player, play
from controlplane.decide import Policies
from controlplane.model import Actuation
from policies.simulator import Algorithm, Case, Outcome, Simulation, Size, scenario

RR, P2C = Algorithm.ROUND_ROBIN, Algorithm.LEAST_REQUEST
RESULT = Path(__file__).parent / "results" / "simulator_algorithms.json"
BEGIN, END = "<!-- algorithms: begin -->", "<!-- algorithms: end -->"
LOADS = (0.6, 0.85, 0.95)
FAMILIES = ("homogeneous", "hardware_2x", "hardware_4x", "all_different", "noisy_neighbour",
            "gc_pauses", "degradation", "slow_half_way", "bursty", "mixed_costs")  # fmt: skip
CONTROLLED = (
    Player("pid, endpoint weights, ROUND_ROBIN", "pid", Actuation.ENDPOINTS, True, RR),
    Player("pid, endpoint weights, LEAST_REQUEST", "pid", Actuation.ENDPOINTS, True, P2C),
    Player("model, group weights, FULL_SCAN", "model", Actuation.GROUPS, True),
)


def balanced(case: Case, algorithm: Algorithm) -> Case:
    return replace(case, balancing=replace(case.balancing, algorithm=algorithm))


def stock(case: Case, seed: int) -> Outcome:
    run = Simulation(case, seed)
    run.advance(SKIPPED_S)
    run.outcome()
    run.advance(case.duration_s)
    run.drain()
    return run.outcome()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    policies = Policies.installed()
    ratios: dict[str, dict[float, list[tuple[float, float]]]] = {}
    for load in LOADS:
        for family in FAMILIES:
            for seed in range(args.seeds):
                size = Size(8, (4, 16)[seed % 2], load, 60.0)
                case = replace(scenario(family, seed=seed, size=size), orca=True)
                base = stock(balanced(case, P2C), seed)
                played = {a.name: stock(balanced(case, a), seed) for a in Algorithm if a != P2C}
                for player in CONTROLLED:
                    played[player.name] = play(case, seed, player, policies)
                for name, felt in played.items():
                    ratio = (
                        np.log(felt.mean_s / base.mean_s),
                        np.log(felt.quantile_s(0.99) / base.quantile_s(0.99)),
                    )
                    ratios.setdefault(name, {}).setdefault(load, []).append(ratio)
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
