"""Agents for regions: trained over several seeds, and the best played on held-out cases.

    python -m benchmarks.region_agents [--steps 300000] [--seeds 3] [--cases 16]

Each seed trains by the recipe `regions-ppo`; its learning curve (mean latency over that of
`leastTime` alone, on validation cases) goes to `benchmarks/results/region_agents.json` and is drawn
into `docs/agents/regions-ppo.png`. The policy that was best on the validation cases then plays the
families and loads of `benchmarks.regions`, on seeds that no training draws: geometric means of the
ratios to LEAST_REQUEST and to `leastTime`, with 95 % intervals by bootstrap.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.regions import FAMILIES, LOADS
from policies.env.episodes import BOUND, GROUPS
from policies.env.regional import Regional
from policies.env.simulated_regions import between_features
from policies.env.stages import Stages
from policies.league.intervals import intervals
from policies.league.match import outcomes
from policies.league.players import FULL_SCAN, P2C, registry, those
from policies.simulator import HELD_OUT_SEEDS, Case, Outcome, Size, scenario
from policies.training.recipe import FOLDER, load
from policies.training.train import Trained, train

RESULT = Path(__file__).parent / "results" / "region_agents.json"
PICTURE = Path(__file__).parents[1] / "docs" / "agents" / "regions-ppo.png"
FIRST = HELD_OUT_SEEDS + 500
TARGET = (0.5, 0.7)
"""Loads over which the target is a mean."""


def corrected_play(case: Case, seed: int, actor: Any) -> Outcome:  # noqa: ANN401 - a torch module
    """`leastTime` with the corrections of a policy; what all requests got."""
    plays = Regional(Stages.installed(), case, seed)
    shares, n = plays.shares, len(plays.zones)
    while plays.now_s < case.duration_s - 1e-9:
        plays.look()
        table = np.zeros((n, GROUPS, between_features(plays, shares).shape[2]), np.float32)
        table[:, :n] = between_features(plays, shares)
        with torch.no_grad():
            action = actor(torch.from_numpy(table)).numpy()[:, :n]
        shares = plays.act(BOUND * np.clip(action.astype(np.float64), -1.0, 1.0))
    plays.run.drain()
    return plays.run.outcome()


def held_out(actor: Any, cases: int) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """By family and load; logarithms of the ratios of mean and 99th percentile of each case."""
    stages = Stages.installed()
    players = those((P2C, FULL_SCAN))
    policies = registry(stages, players)
    rows: dict[str, dict[str, Any]] = {}
    for family in FAMILIES:
        for at in LOADS:
            size = Size(endpoints=8, proxies=16, load=at)
            drawn = [
                (scenario(family, seed=seed, size=size), seed)
                for seed in range(FIRST, FIRST + cases)
            ]
            got = {
                one.name: outcomes(drawn, one, stages, policies, skipped_s=0.0) for one in players
            }
            got["leastTime"] = [Regional(stages, *one).play() for one in drawn]
            got["learned"] = [corrected_play(*one, actor) for one in drawn]
            rows[f"{family} {at:.0%}"] = {
                f"{a}/{b}": [_logs(x, y) for x, y in zip(got[a], got[b], strict=True)]
                for a, b in (
                    (FULL_SCAN, P2C),
                    ("leastTime", P2C),
                    ("learned", P2C),
                    ("learned", "leastTime"),
                )
            }
            print(_line(f"{family} {at:.0%}", rows[f"{family} {at:.0%}"]), flush=True)
    for name, loads in (("all at 50 and 70 %", TARGET), ("all", LOADS)):
        wanted = [row for key, row in rows.items() if key.endswith(_ends(loads))]
        rows[name] = {pair: [one for row in wanted for one in row[pair]] for pair in wanted[0]}
        print(_line(name, rows[name]), flush=True)
    return {name: {pair: _ratio(logs) for pair, logs in row.items()} for name, row in rows.items()}


def _ends(loads: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(f"{at:.0%}" for at in loads)


def _logs(ours: Outcome, theirs: Outcome) -> tuple[float, float]:
    return (
        float(np.log(ours.mean_s / theirs.mean_s)),
        float(np.log(ours.quantile_s(0.99) / theirs.quantile_s(0.99))),
    )


def _ratio(logs: list[tuple[float, float]]) -> dict[str, list[float]]:
    n = len(logs)
    found = np.exp(intervals(np.array(logs), [str(i) for i in range(n)], [""] * n))
    return {"mean": found[0].round(4).tolist(), "p99": found[1].round(4).tolist()}


def _line(name: str, row: dict[str, Any]) -> str:
    cells = []
    for logs in row.values():
        one = _ratio(logs)
        mean, low, high = one["mean"]
        cells.append(f"{mean:.3f} [{low:.3f}, {high:.3f}] / {one['p99'][0]:.3f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def drawn(runs: list[Trained], path: Path) -> None:
    """The learning curve of each seed."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for run in runs:
        points = [(one.step, one.ratio) for one in run.curve if one.ratio is not None]
        axes.plot(*zip(*points, strict=True), marker=".", label=f"seed {run.recipe.seed}")
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.set(xlabel="steps of all agents", ylabel="mean latency over leastTime's")
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    recipe = load(FOLDER / "regions-ppo.yaml")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=recipe.steps)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=16)
    args = parser.parse_args()
    runs = []
    for seed in range(1, args.seeds + 1):
        runs.append(
            train(
                replace(recipe, steps=args.steps, seed=seed),
                progress=partial(print, seed, flush=True),
            )
        )
        print(f"seed {seed}: best {runs[-1].ratio:.4f} at {runs[-1].step}", flush=True)
    drawn(runs, PICTURE)
    best = min(runs, key=lambda run: run.ratio)
    document = {
        "steps": args.steps,
        "curves": {str(run.recipe.seed): [asdict(one) for one in run.curve] for run in runs},
        "played": {"seed": best.recipe.seed, "step": best.step, "validation": best.ratio},
        "first": FIRST,
        "cases": args.cases,
    }
    document["ratios"] = held_out(best.actor, args.cases)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
