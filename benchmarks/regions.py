"""Weights of their own for the proxies of each region, on the simulator.

    python -m benchmarks.regions [--seeds 16] [--first 101] [--docs docs/regions.md]

The same requests for LEAST_REQUEST (two choices), FULL_SCAN, `model` that knows no regions, and
`leastTime` (`policies.env.regional`); and the same split, once and for ever, for who was told the
truth about endpoints, ways and traffic. 8 endpoints, 16 proxies, 40 s, all of it counted. Geometric
means over seeds of the ratios to LEAST_REQUEST, mean / 99th percentile, with 95 % intervals of the
mean by bootstrap. The constants were chosen on seeds below 10. `--docs` writes the table between
the marks of that file; everything goes to `benchmarks/results/regions.json`, with the commit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from controlplane.checkout import commit
from controlplane.model import Grouping
from controlplane.model.regions import Destinations, spread
from policies.env.regional import Regional
from policies.env.stages import Stages
from policies.league.intervals import intervals
from policies.league.match import outcomes
from policies.league.players import FULL_SCAN, MODEL, P2C, registry, those
from policies.simulator import Case, Outcome, Simulation, Size, endpoint_id, scenario
from policies.simulator.demand import Law

FAMILIES = ("two_regions", "three_regions", "slow_region")
LOADS = (0.5, 0.7, 0.85)
ORACLE = ("two_regions", "three_regions")
"""Where nothing changes, so that a split for ever can be worked out from the truth."""
KNOW_NONE = (P2C, FULL_SCAN, MODEL)
"""What knows no regions."""
NAMES = {
    FULL_SCAN: "FULL_SCAN",
    MODEL: "`model`, one for all",
    "between": "`leastTime`",
    "oracle": "told the truth",
}
LEAST = 1e-4
"""The simulator takes no shares of 0."""
RESULT = Path(__file__).parent / "results" / "regions.json"
BEGIN, END = "<!-- regions: begin -->", "<!-- regions: end -->"


def played(family: str, load: float, seeds: range) -> list[dict[str, Outcome]]:
    """What the requests of each case got under each."""
    stages = Stages.installed()
    cases = [
        (scenario(family, seed=seed, size=Size(endpoints=8, proxies=16, load=load)), seed)
        for seed in seeds
    ]
    players = those(KNOW_NONE)
    policies = registry(stages, players)
    got = {one.name: outcomes(cases, one, stages, policies, skipped_s=0.0) for one in players}
    return [
        {
            **{name: all_of[i] for name, all_of in got.items()},
            "between": Regional(stages, case, seed).play(),
            **({"oracle": oracle(case, seed)} if family in ORACLE else {}),
        }
        for i, (case, seed) in enumerate(cases)
    ]


def oracle(case: Case, seed: int) -> Outcome:
    """The split of least total time, by the truth, for the load that there is."""
    kinds = [(s.region, s.speed.value[0]) for s in case.stations]
    names = sorted(set(kinds))
    index = np.array([names.index(kind) for kind in kinds])
    sizes = np.bincount(index).astype(np.float64)
    workers = float(case.stations[0].workers)
    speed = np.array([speed for _, speed in names])
    truth = Destinations(
        capacity=sizes * workers * speed / case.mean_work_s,
        base_s=case.mean_work_s / speed,
        servers=sizes * workers,
        variability=np.full(len(names), 0.5 * (1.0 + scv_of(case))),
    )
    way_s = 2.0 * np.array(case.network_s)[:, [region for region, _ in names]]
    demand = float(case.traffic.rate_rps.value[0]) * np.array(case.region_traffic)
    rates = np.maximum(spread(truth, way_s, demand), LEAST * demand[:, None])
    run = Simulation(case, seed)
    ids = tuple(endpoint_id(i) for i in range(len(kinds)))
    grouping = Grouping(ids, tuple(f"{region}/{speed}" for region, speed in names), index)
    run.split(grouping, rates / rates.sum(axis=1, keepdims=True))
    run.advance(case.duration_s)
    run.drain()
    return run.outcome()


def scv_of(case: Case) -> float:
    """Squared coefficient of variation of the work."""
    fixed = {Law.DETERMINISTIC: 0.0, Law.EXPONENTIAL: 1.0}
    return fixed.get(case.work.law, case.work.scv)


def ratios(all_of: list[dict[str, Outcome]], name: str) -> dict[str, list[float]]:
    """[geometric mean, lower, upper] of the ratios to LEAST_REQUEST."""
    logs = np.array(
        [
            (
                np.log(one[name].mean_s / one[P2C].mean_s),
                np.log(one[name].quantile_s(0.99) / one[P2C].quantile_s(0.99)),
            )
            for one in all_of
        ]
    )
    found = np.exp(intervals(logs, [str(i) for i in range(len(logs))], [name] * len(logs)))
    return {"mean": found[0].round(4).tolist(), "p99": found[1].round(4).tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--first", type=int, default=101)
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    made_by = commit()
    seeds = range(args.first, args.first + args.seeds)
    lines = ["| cases | load | " + " | ".join(NAMES.values()) + " |"]
    lines.append("|---|---|" + "---|" * len(NAMES))
    document: dict[str, dict[str, dict[str, list[float]]]] = {}
    for family in FAMILIES:
        for load in LOADS:
            all_of = played(family, load, seeds)
            row = {name: ratios(all_of, name) for name in NAMES if name in all_of[0]}
            document[f"{family} {load:.0%}"] = row
            cells = [
                f"{one['mean'][0]:.2f} [{one['mean'][1]:.2f}, {one['mean'][2]:.2f}]"
                f" / {one['p99'][0]:.2f}"
                for one in row.values()
            ]
            cells += ["-"] * (len(NAMES) - len(cells))
            lines.append(f"| {family} | {load:.0%} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    result = {"commit": made_by, "first": args.first, "seeds": args.seeds, "ratios": document}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    if args.docs:
        text = args.docs.read_text()
        head, rest = text.split(BEGIN)
        table = "\n".join(lines)
        args.docs.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
