"""Agents for regions: trained over several seeds, and the best played on held-out cases.

    python -m benchmarks.region_agents [--steps 149760] [--seeds 3] [--cases 16]

Each seed trains by the recipe `regions-ppo`, one to a core; a run that is stopped goes on where it
was, and with other code begins anew, in a folder of its own. Its learning curve (mean latency over
that of `leastTime` alone, on validation cases) goes to `benchmarks/results/region_agents.json`,
with the commit, and is drawn into `docs/agents/regions-ppo.png`. The policy that was best on the
validation cases then plays the families and loads of `benchmarks.regions`, on seeds that no
training draws, and so do corrections that need no learning (`SIMPLE`): what they win is what a
residual on `leastTime` can win at all where it is in proportion to what a region sees. Geometric
means of ratios, with 95 % intervals by bootstrap, into docs/agents/shared-ppo.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.regions import FAMILIES, LOADS
from controlplane.checkout import commit
from controlplane.model.features import FEATURES
from policies.agents.settings import TeamPpo
from policies.env.episodes import BOUND, GROUPS
from policies.env.regional import Regional
from policies.env.simulated_regions import between_features
from policies.env.stages import Stages
from policies.league.intervals import intervals
from policies.league.match import outcomes
from policies.league.players import FULL_SCAN, P2C, registry, those
from policies.league.tables import write_between
from policies.simulator import HELD_OUT_SEEDS, Case, Outcome, Size, scenario
from policies.training.places import Local
from policies.training.recipe import FOLDER, load
from policies.training.runs import trained
from policies.training.train import Trained, code

RESULT = Path(__file__).parent / "results" / "region_agents.json"
DOCS = Path(__file__).parents[1] / "docs" / "agents"
PICTURE, PAGE = DOCS / "regions-ppo.png", DOCS / "shared-ppo.md"
MARKS = ("<!-- region-agents -->", "<!-- /region-agents -->")
SCRATCH = Path("runs/region-agents")
FIRST = HELD_OUT_SEEDS + 500
TARGET = (0.5, 0.7)
"""Loads over which the target is a mean."""
LEARNED, BASE = "learned", "leastTime"
SIMPLE: Mapping[str, tuple[str, float]] = {
    "away from what is busy": ("utilisation", -1.0),
    "towards what is busy": ("utilisation", 1.0),
    "away from what is slow": ("latency", -0.5),
    "away from what gets slower": ("latency_trend", -1.0),
    "towards capacity": ("base_over_capacity", -0.5),
    "away from capacity": ("base_over_capacity", 0.3),
    "as before": ("current_over_base", 0.5),
}
"""A feature, and the action for each unit of it."""


class Simple(nn.Module):  # type: ignore[misc]
    """An action in proportion to one feature, beside the mean over the zones."""

    def __init__(self, feature: str, gain: float) -> None:
        super().__init__()
        self._column, self._gain = FEATURES.index(feature), gain

    def forward(self, table: Tensor) -> Tensor:
        """(regions, zones, features) to (regions, zones)."""
        there = table[..., FEATURES.index("present")]
        seen = table[..., self._column] * there
        mean = seen.sum(-1, keepdim=True) / there.sum(-1, keepdim=True).clamp(min=1.0)
        moved: Tensor = self._gain * (seen - mean) * there
        return moved


def corrected_play(case: Case, seed: int, actor: nn.Module) -> Outcome:
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


def held_out(actor: nn.Module, cases: int) -> dict[str, dict[str, Any]]:
    """By family and load; logarithms of the ratios of mean and 99th percentile of each case."""
    stages = Stages.installed()
    players = those((P2C, FULL_SCAN))
    policies = registry(stages, players)
    actors = {LEARNED: actor} | {name: Simple(*how) for name, how in SIMPLE.items()}
    pairs = [(FULL_SCAN, P2C), (BASE, P2C), (LEARNED, P2C), *((name, BASE) for name in actors)]
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
            got[BASE] = [Regional(stages, *one).play() for one in drawn]
            for name, plays in actors.items():
                got[name] = [corrected_play(*one, plays) for one in drawn]
            rows[f"{family} {at:.0%}"] = {
                f"{a}/{b}": [_logs(x, y) for x, y in zip(got[a], got[b], strict=True)]
                for a, b in pairs
            }
            print(f"{family} {at:.0%}", flush=True)
    for name, loads in (("all at 50 and 70 %", TARGET), ("all", LOADS)):
        wanted = [row for key, row in rows.items() if key.endswith(_ends(loads))]
        rows[name] = {pair: [one for row in wanted for one in row[pair]] for pair in wanted[0]}
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


def tables(document: Mapping[str, Any]) -> str:
    """The learning curves' ends, what was played by family and load, and the simple ones."""
    ratios = document["ratios"]
    shown = (f"{FULL_SCAN}/{P2C}", f"{BASE}/{P2C}", f"{LEARNED}/{P2C}", f"{LEARNED}/{BASE}")
    ends = ", ".join(
        f"{next(one['ratio'] for one in reversed(curve) if one['ratio'] is not None):.3f}"
        for curve in document["curves"].values()
    )
    played = document["played"]
    return "\n".join(
        [
            f"After {document['steps']:,} steps the seeds' last policies are at {ends} of "
            f"`leastTime` on {document['validation']} validation cases. The best of all on these, "
            f"at {played['validation']:.3f}, is that of seed {played['seed']} at step "
            f"{played['step']:,}, which is played on {document['cases']} seeds for each line:",
            "",
            "| cases | FULL_SCAN | `leastTime` | the policy | the policy, of `leastTime` |",
            "|---|---|---|---|---|",
            *(
                f"| {name} | " + " | ".join(_cell(row[pair]) for pair in shown) + " |"
                for name, row in ratios.items()
            ),
            "",
            "| all of these, of `leastTime` | mean / p99 | action |",
            "|---|---|---|",
            *(
                f"| {name} | {_cell(ratios['all'][f'{name}/{BASE}'])} | {gain:+g} {feature} |"
                for name, (feature, gain) in SIMPLE.items()
            ),
        ]
    )


def _cell(one: Mapping[str, list[float]]) -> str:
    mean, low, high = one["mean"]
    return f"{mean:.3f} [{low:.3f}, {high:.3f}] / {one['p99'][0]:.3f}"


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
    team = recipe.settings
    assert isinstance(team, TeamPpo)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=recipe.steps)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=16)
    args = parser.parse_args()
    made_by, scratch = commit(), SCRATCH / code()
    recipe = replace(recipe, steps=args.steps, seeds=tuple(range(1, args.seeds + 1)))
    runs = trained(
        [(one, scratch / f"{args.steps}-{one.seed}") for one in recipe.runs()],
        Local(),
        resume=True,
        progress=partial(print, flush=True),
    )
    drawn(runs, PICTURE)
    best = min(runs, key=lambda run: run.ratio)
    document = {
        "commit": made_by,
        "steps": args.steps,
        "curves": {str(run.recipe.seed): [asdict(one) for one in run.curve] for run in runs},
        "validation": recipe.check_cases // team.agents,
        "played": {"seed": best.recipe.seed, "step": best.step, "validation": best.ratio},
        "first": FIRST,
        "cases": args.cases,
    }
    document["ratios"] = held_out(best.actor, args.cases)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    write_between(PAGE, tables(document) + "\n", MARKS)


if __name__ == "__main__":
    main()
