"""What the policies are worth, on the simulator: latency against Envoy's own best, FULL_SCAN.

    python -m benchmarks.decide_quality [--seeds 3] [--first-seed 1] [--quick]

Every case is played by stock Envoy (power of two choices; FULL_SCAN) and by each policy through
the whole stage and the guard as they are served: a look each second, new weights 0.25 s later.
The same requests meet every policy. Printed and written to `benchmarks/results/` are the mean and
the 99th percentile relative to FULL_SCAN (geometric means over the seeds, lower is better), and
the errors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from controlplane.decide import Asked, Decider, Memory, Policies, grouping
from controlplane.guard import Memory as GuardMemory
from controlplane.guard import check, shares_in_force
from controlplane.model import Actuation, Grouping, Service
from controlplane.model.observation import Floats
from policies.simulator import (
    Algorithm,
    Case,
    Outcome,
    Simulation,
    Size,
    Station,
    Steps,
    Traffic,
    Work,
    scenario,
)

RESULT = Path(__file__).parent / "results" / "decide_quality.json"
GROUPING_RESULT = RESULT.with_name("decide_grouping.json")
DURATION_S = 60.0
SKIPPED_S = 10.0
"""The start is not counted: all begin with equal shares and nothing known."""
DEMO_SPEEDS = (2.0, 2.0, 1.5, 1.5, 1.0, 1.0, 0.5, 0.5)


@dataclass(frozen=True)
class Player:
    """Who balances: a policy in an actuation, or stock Envoy."""

    name: str
    policy: str = ""
    actuation: Actuation = Actuation.GROUPS
    orca: bool = False
    algorithm: Algorithm = Algorithm.FULL_SCAN


FULL_SCAN = Player("full_scan")
PLAYERS = (
    Player("p2c", algorithm=Algorithm.LEAST_REQUEST),
    Player("capacity", "capacity"),
    Player("model", "model"),
    Player("model, ORCA", "model", orca=True),
    Player("model, endpoints", "model", Actuation.ENDPOINTS),
    Player("learned", "learned"),
)


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


def play(case: Case, seed: int, player: Player, policies: Policies) -> Outcome:
    """One run to the end, every request counted that arrived after the start."""
    case = replace(case, balancing=replace(case.balancing, algorithm=player.algorithm))
    run = Simulation(case, seed)
    control = Control(player, policies, seed) if player.policy else None
    counted = False
    while run.now_s < case.duration_s - 1e-9:
        at_s = round(run.now_s) + 1.0
        run.advance(at_s)
        if not counted and at_s >= SKIPPED_S:
            run.outcome()
            counted = True
        if control is not None:
            split = control.tick(case, run)
            run.advance(at_s + case.delay_s)
            run.split(*split)
    run.drain()
    return run.outcome()


class Control:
    """Decide and guard as they are served, for the one service of a case."""

    def __init__(self, player: Player, policies: Policies, seed: int) -> None:
        self.player = player
        self.decider = Decider(policies)
        self.random = np.random.default_rng(seed)
        self.memory: Memory | None = None
        self.guarded: GuardMemory | None = None

    def tick(self, case: Case, run: Simulation) -> tuple[Grouping, Floats]:
        now_s = run.now_s
        service = replace(
            case.service(now_s, policy=self.player.policy), actuation=self.player.actuation
        )
        seen = run.telemetry()
        noise = None
        if self.player.orca:
            noise = self.random.normal(1.0, case.telemetry_noise, len(seen.endpoints))
        look = seen.observation(service.name, utilisation_noise=noise)

        def in_force(service: Service, groups: Grouping) -> Floats:
            return shares_in_force(service, self.guarded, groups, now_s)

        decided = self.decider.decide([Asked(service, look, self.memory)], now_s, in_force)[0]
        if decided.reasons:
            raise RuntimeError(f"{self.player.name}: {decided.reasons}")
        self.memory = decided.memory
        verdict, self.guarded = check(decided.situation, decided.proposal, self.guarded, now_s)
        return verdict.grouping, verdict.shares


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
    policies = Policies.installed()
    if args.grouping:
        study_grouping(policies, seeds)
        return
    begun = time.monotonic()
    ratios: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    base: dict[str, list[tuple[float, float, float]]] = {}
    for seed in seeds:
        for name, case in cases(seed, loads):
            stock = play(case, seed, FULL_SCAN, policies)
            felt = (stock.mean_s, stock.quantile_s(0.99), stock.error_ratio)
            base.setdefault(name, []).append(felt)
            for player in PLAYERS:
                got = play(case, seed, player, policies)
                ratio = (got.mean_s / felt[0], got.quantile_s(0.99) / felt[1], got.error_ratio)
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


def study_grouping(policies: Policies, seeds: range) -> None:
    """`model` with classes, however much a proxy sees, against FULL_SCAN; see docs/decide.md."""
    grouping.SEEN_ENOUGH = grouping.SEEN_LITTLE = float("inf")
    rows = []
    for proxies in (1, 2, 4, 6, 12):
        row: dict[str, object] = {"proxies": proxies}
        for load in (0.5, 0.7, 0.9):
            size = Size(endpoints=8, proxies=proxies, load=load, duration_s=DURATION_S)
            logs = []
            for seed in seeds:
                case = scenario("hardware_4x", seed=seed, size=size, work=Work(0.05))
                stock = play(case, seed, FULL_SCAN, policies)
                got = play(case, seed, PLAYERS[2], policies)
                p99 = got.quantile_s(0.99) / stock.quantile_s(0.99)
                logs.append((np.log(got.mean_s / stock.mean_s), np.log(p99)))
            mean, p99 = np.exp(np.mean(logs, axis=0)).round(2).tolist()
            row[f"{load:.0%}"] = {"mean": mean, "p99": p99}
        rows.append(row)
        print(row, flush=True)
    GROUPING_RESULT.write_text(json.dumps({"seeds": list(seeds), "rows": rows}, indent=1) + "\n")


def report(
    base: dict[str, list[tuple[float, float, float]]],
    ratios: dict[str, dict[str, list[tuple[float, float, float]]]],
) -> list[dict[str, object]]:
    """Print the table; return it."""
    names = [player.name for player in PLAYERS]
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
