"""What a sudden crowd costs, on the simulator: the arena's, with many schedules.

    python -m benchmarks.crowds [--schedules 12] [--draws 6] [--scenario flash-crowd]

Against FULL_SCAN on the same requests: geometric means over schedules of the ratios of mean and
99th percentile, the schedule and the draw in which the mean was worst, the mean latency in the
quiet time before, and the worst second of a run. At which Envoy a request arrives is drawn anew.
Written to `benchmarks/results/crowds.json`, but of other scenarios, with the commit and the release
that played.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.fidelity import arena_case, player_of
from controlplane.checkout import commit
from controlplane.lab.arena.contestants import CONTESTANTS
from controlplane.lab.arena.suite import of_suite
from controlplane.model.observation import Floats
from policies.env.lockstep import Lockstep
from policies.env.stages import Stages
from policies.league.players import installed, registry, releases
from policies.simulator import Outcome

RESULT = Path(__file__).parent / "results" / "crowds.json"
REFERENCE = "full_scan"
LANES = (REFERENCE, "model", "learned")
WARMUP_S, DURATION_S = 15, 40


@dataclass(frozen=True)
class Felt:
    """What the requests of one schedule got, draw by draw."""

    mean_s: Floats
    p99_s: Floats
    seconds_s: Floats
    """(seconds after the warm-up, draws) mean latency of what came in each."""


def felt(scenario: str, draws: int, job: tuple[str, int]) -> Felt:
    """One lane on one schedule."""
    lane, seed = job
    player = player_of(CONTESTANTS[lane])
    stages = Stages.installed()
    case = arena_case(
        scenario, seed, duration_s=float(DURATION_S), warmup_s=float(WARMUP_S),
        algorithm=player.algorithm,
    )  # fmt: skip
    run = Lockstep(
        stages,
        registry(stages, [player]),
        [(case, draw, player.policy) for draw in range(1, draws + 1)],
        actuation=player.actuation,
    )
    seconds = []
    for _ in range(WARMUP_S + DURATION_S):
        decided = run.look()
        run.act(decided, [None if one is None else one.proposal for one in decided])
        seconds.append(run.outcomes())
    counted = [Outcome.together(one) for one in zip(*seconds[WARMUP_S:], strict=True)]
    return Felt(
        np.array([one.mean_s for one in counted]),
        np.array([one.quantile_s(0.99) for one in counted]),
        np.array([[one.mean_s for one in all_of] for all_of in seconds[WARMUP_S:]]),
    )


def row(ours: list[Felt], theirs: list[Felt], begins_s: int) -> dict[str, float]:
    """Of a lane, over its schedules."""
    means = np.log([a.mean_s / b.mean_s for a, b in zip(ours, theirs, strict=True)])
    tails = np.log([a.p99_s / b.p99_s for a, b in zip(ours, theirs, strict=True)])
    seconds = np.array([one.seconds_s for one in ours])
    return {
        "mean": float(np.exp(means.mean())),
        "p99": float(np.exp(tails.mean())),
        "worst_schedule": float(np.exp(means.mean(axis=1).max())),
        "worst_draw": float(np.exp(means.max())),
        "quiet_ms": 1e3 * float(seconds[:, 2:begins_s].mean()),
        "worst_second_ms": 1e3 * float(seconds.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=12)
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--scenario", default="flash-crowd")
    args = parser.parse_args()
    made_by = {"commit": commit(), "releases": releases(installed())}
    profile = of_suite(args.scenario).profile
    begins_s = int(DURATION_S * min((at for at, _, _ in profile if at > 0), default=1.0))
    jobs = list(product(LANES, range(1, args.schedules + 1)))
    with multiprocessing.get_context("spawn").Pool() as pool:
        done = pool.map(partial(felt, args.scenario, args.draws), jobs, chunksize=1)
    by_lane = {
        lane: [one for (name, _), one in zip(jobs, done, strict=True) if name == lane]
        for lane in LANES
    }
    rows = {lane: row(by_lane[lane], by_lane[REFERENCE], begins_s) for lane in LANES}
    shown = ("mean", "p99", "worst_schedule", "worst_draw", "quiet_ms", "worst_second_ms")
    print("| lane |", " | ".join(name.replace("_", " ") for name in shown), "|")
    print("|---" * (len(shown) + 1) + "|")
    for lane, found in rows.items():
        cells = [f"{found[name]:.0f}" if "ms" in name else f"{found[name]:.2f}" for name in shown]
        print(f"| {CONTESTANTS[lane].title} |", " | ".join(cells), "|")
    if args.scenario == parser.get_default("scenario"):
        RESULT.write_text(json.dumps({**made_by, **vars(args), "lanes": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
