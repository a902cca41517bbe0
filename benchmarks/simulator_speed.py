"""How fast the simulator and the environment are, on one core.

    python -m benchmarks.simulator_speed [--requests 1000000] [--ticks 39]

CPU seconds, compilation not counted. Requests per second of the event loop for every balancer
and two fleets, and for endpoints that share their workers and regions that are apart; then steps
per second of the paired environment (each step a tick of the learner's control loop and of its
reference). Written to `benchmarks/results/simulator_speed.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from policies.env.draw import Draw
from policies.env.episodes import GROUPS
from policies.env.paired import Paired
from policies.simulator import Algorithm, Balancing, Simulation, Size, Work, scenario

RESULT = Path(__file__).parent / "results" / "simulator_speed.json"


def requests_per_s(
    endpoints: int,
    proxies: int,
    algorithm: Algorithm,
    requests: int,
    family: str = "hardware_2x",
) -> float:
    case = scenario(
        family,
        seed=1,
        size=Size(endpoints, proxies, 0.7),
        work=Work(0.05),
        balancing=Balancing(algorithm),
    )
    case = replace(case, duration_s=requests / case.traffic.rate_rps.value[0])
    Simulation(case, seed=1).advance(1.0)  # compiled now
    run = Simulation(case, seed=1)
    began = time.process_time()
    run.advance(case.duration_s)
    spent = time.process_time() - began
    return float(run.arrived().sum() / spent)


def steps_per_s(slots: int, copies: int, ticks: int) -> float:
    paired = Paired(Draw(), slots, 1, copies)
    paired.reset()
    paired.step(np.zeros((slots, GROUPS)))
    paired.reset()
    began = time.process_time()
    for _ in range(ticks):
        paired.step(np.zeros((slots, GROUPS)))
    return slots * ticks / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--ticks", type=int, default=39)
    args = parser.parse_args()
    rows = []
    for endpoints, proxies in ((8, 4), (32, 64)):
        for algorithm in Algorithm:
            speed = requests_per_s(endpoints, proxies, algorithm, args.requests)
            name = algorithm.name.lower()
            rows.append(
                {"balancer": name, "endpoints": endpoints, "proxies": proxies,
                 "requests_per_s": round(speed)}
            )  # fmt: skip
            print(
                f"{name:14} {endpoints:3} endpoints {proxies:3} proxies {speed:12,.0f} requests/s"
            )
    for family in ("shared_workers", "two_regions"):
        speed = requests_per_s(8, 4, Algorithm.FULL_SCAN, args.requests, family)
        rows.append(
            {"balancer": "full_scan", "family": family, "endpoints": 8, "proxies": 4,
             "requests_per_s": round(speed)}
        )  # fmt: skip
        print(f"full_scan        8 endpoints   4 proxies {speed:12,.0f} requests/s, {family}")
    environment = []
    for slots, copies in ((1, 1), (32, 1), (32, 4), (64, 8)):
        speed = steps_per_s(slots, copies, args.ticks)
        environment.append({"slots": slots, "copies": copies, "steps_per_s": round(speed)})
        print(f"environment, {slots:2} slots, {copies} copies of a case {speed:8,.0f} steps/s")
    RESULT.parent.mkdir(exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    document = {
        "what": "CPU time of one core; environment steps include the paired reference run",
        "machine": f"{machine}; shared with other work",
        "simulator": rows,
        "environment": environment,
    }
    RESULT.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
