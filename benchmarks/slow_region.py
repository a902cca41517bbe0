"""What can be done at all where one region turns slow, by who is told the truth some time late.

    python -m benchmarks.slow_region [--seeds 10] [--first 0] [--load 0.85]

Against FULL_SCAN on the same requests, mean / 99th percentile, geometric means over seeds: the
split of least total time, so late; and that split until one full scan over all endpoints takes its
place, so late. 8 endpoints, 16 proxies, 40 s. Prints the table of docs/regions.md.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.regions import scv_of
from controlplane.model import Grouping
from controlplane.model.observation import Floats
from controlplane.model.regions import Destinations, spread
from policies.env.stages import Stages
from policies.league.match import outcomes
from policies.league.players import FULL_SCAN, registry, those
from policies.simulator import Case, Outcome, Simulation, Size, endpoint_id, scenario

LATE_S = (0.0, 3.0)
SCAN_LATE_S = (0.5, 1.25, 2.25)
TICK_S = 0.5
FULL = 0.98
"""The split is of so much of the capacity where more is asked."""
LEAST = 1e-4
"""The simulator takes no shares of 0."""


def best(case: Case, at_s: float) -> Floats:
    """(regions, regions) the split of least total time for the endpoints as they are then."""
    region = np.array([one.region for one in case.stations])
    speeds = np.array([one.speed.at(at_s) for one in case.stations])
    sizes = np.bincount(region).astype(np.float64)
    speed = np.bincount(region, weights=speeds) / sizes
    workers = float(case.stations[0].workers)
    there = Destinations(
        capacity=sizes * workers * speed / case.mean_work_s,
        base_s=case.mean_work_s / speed,
        servers=sizes * workers,
        variability=np.full(len(sizes), 0.5 * (1.0 + scv_of(case))),
    )
    asked = float(case.traffic.rate_rps.value[0]) * np.array(case.region_traffic)
    asked = asked * min(1.0, FULL * float(there.capacity.sum() / asked.sum()))
    rates = np.maximum(spread(there, 2.0 * np.array(case.network_s), asked), LEAST * asked[:, None])
    return np.asarray(rates / rates.sum(axis=1, keepdims=True), np.float64)


def played(case: Case, seed: int, late_s: float, *, scan: bool) -> Outcome:
    """What the requests got when the change is known so late; `scan`: all are one then."""
    run = Simulation(case, seed)
    ids = tuple(endpoint_id(i) for i in range(len(case.stations)))
    by_region = Grouping(ids, tuple(case.regions), np.array([s.region for s in case.stations]))
    whole = Grouping(ids, ("all",), np.zeros(len(ids), np.intp))
    turns_s = max(one.speed.from_s[-1] for one in case.stations)
    run.split(by_region, best(case, 0.0))
    if scan:
        run.advance(turns_s + late_s)
        run.split(whole, np.ones(1))
    else:
        for at_s in np.arange(TICK_S, case.duration_s, TICK_S).tolist():
            run.advance(at_s)
            run.split(by_region, best(case, max(0.0, at_s - late_s)))
    run.advance(case.duration_s)
    run.drain()
    return run.outcome()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--load", type=float, default=0.85)
    args = parser.parse_args()
    size = Size(endpoints=8, proxies=16, load=args.load)
    cases = [
        (scenario("slow_region", seed=seed, size=size), seed)
        for seed in range(args.first, args.first + args.seeds)
    ]
    stages, players = Stages.installed(), those((FULL_SCAN,))
    full = outcomes(cases, players[0], stages, registry(stages, players), skipped_s=0.0)
    print("| from when one region turns slow | mean / p99 |\n|---|---|")
    rows = [(late_s, False) for late_s in LATE_S] + [(late_s, True) for late_s in SCAN_LATE_S]
    for late_s, scan in rows:
        logs = [
            (np.log(own.mean_s / one.mean_s), np.log(own.quantile_s(0.99) / one.quantile_s(0.99)))
            for (case, seed), one in zip(cases, full, strict=True)
            for own in [played(case, seed, late_s, scan=scan)]
        ]
        mean, p99 = np.exp(np.mean(logs, axis=0))
        what = "one full scan over all endpoints" if scan else "the best split"
        print(f"| {what}, {late_s:g} s late | {mean:.2f} / {p99:.2f} |", flush=True)


if __name__ == "__main__":
    main()
