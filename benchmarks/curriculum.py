"""The released recipe with lessons and without, on the simulator.

    python -m benchmarks.curriculum [--steps 160000] [--seeds 3] [--cases 1]

Each seed trains by the recipe `residual-ppo` as it is, and again with `LESSONS`; checks are alike,
and so are the cases (those of the card, by which releases may be chosen) on which what came of the
runs is played: beside `model`, and with lessons beside without, seed by seed on the same requests.
Geometric means with 95 % intervals by bootstrap over services. A run that is stopped goes on where
it was. Writes curriculum.json in benchmarks/results, the learning curves and the table of
docs/agents/curriculum.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.releases import playable
from controlplane.checkout import commit, short
from policies.league.intervals import intervals
from policies.league.match import Played
from policies.league.players import MODEL, released, those
from policies.league.suite import RELEASE_SEEDS, Suite
from policies.league.tables import interval, write_between
from policies.league.tournament import tournament
from policies.training.places import Local
from policies.training.plot import compared
from policies.training.recipe import FOLDER, Lesson, Recipe, load
from policies.training.runs import trained
from policies.training.train import Trained, code

RESULT = Path(__file__).parent / "results" / "curriculum.json"
DOCS = Path(__file__).parents[1] / "docs" / "agents"
PICTURE, PAGE = DOCS / "curriculum.png", DOCS / "curriculum.md"
MARKS = ("<!-- curriculum -->", "<!-- /curriculum -->")
SCRATCH = Path("runs/curriculum")
RELEASE = Path(__file__).parents[1] / "policies" / "released" / "residual-ppo"
LESSONS = (
    Lesson(
        until=0.25,
        families={"sparse": 1.0, "hardware_4x": 1.0, "hardware_2x": 1.0, "all_different": 1.0},
        load=(0.45, 0.7),
    ),
    Lesson(
        until=0.5,
        families={
            "sparse": 3.0, "hardware_4x": 2.0, "hardware_2x": 2.0, "all_different": 2.0,
            "slow_half_way": 3.0, "noisy_neighbour": 2.0, "grey_failure": 2.0,
        },
    ),
)  # fmt: skip
"""First what stays as it is, at loads at which a mistake costs little; then what changes by
itself; then, as in the recipe, crowds, bursts and endpoints that join, too."""
PLAIN, LESSON = "all at once", "lessons"
MEASURES = ("mean", "p99")


def ways(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe as it is, and with lessons."""
    return {PLAIN: recipe, LESSON: replace(recipe, curriculum=LESSONS)}


def runs_of(recipe: Recipe, folder: Path) -> dict[str, list[Trained]]:
    """Every seed of both ways."""
    wanted = [
        (one, folder / f"{'lessons' if one.curriculum else 'plain'}-{one.steps}-{one.seed}")
        for way in ways(recipe).values()
        for one in way.runs()
    ]
    got = trained(wanted, Local(), resume=True, progress=partial(print, flush=True))
    seeds = len(recipe.seeds)
    return {PLAIN: got[:seeds], LESSON: got[seeds:]}


def player_of(run: Trained, folder: Path) -> str:
    """Make what came of a run ready to play; its name."""
    name = f"{'lessons' if run.recipe.curriculum else 'plain'}-{run.recipe.seed}"
    made = folder / name
    made.mkdir(parents=True, exist_ok=True)
    playable(run.actor, json.loads((RELEASE / "manifest.json").read_text()), made)
    return name


def ratios(played: Sequence[Played], pairs: Sequence[tuple[str, str]]) -> dict[str, list[float]]:
    """Mean and p99: of each case the mean over the pairs of the logarithm of their ratio."""

    def log(one: Played, a: str, b: str) -> tuple[float, float]:
        ours, theirs = one.got[a], one.got[b]
        return float(np.log(ours.mean_s / theirs.mean_s)), float(np.log(ours.p99_s / theirs.p99_s))

    logs = np.array([np.mean([log(one, *pair) for pair in pairs], axis=0) for one in played])
    fixtures = [one.fixture for one in played]
    found = np.exp(
        intervals(logs, [one.service for one in fixtures], [one.family for one in fixtures])
    )
    return {name: row.round(4).tolist() for name, row in zip(MEASURES, found, strict=True)}


def document(runs: Mapping[str, Sequence[Trained]], folder: Path, suite: Suite) -> dict[str, Any]:
    """Curves, and what each is worth."""
    names = {way: [player_of(run, folder) for run in each] for way, each in runs.items()}
    ours = [released(name, (folder / name).resolve()) for each in names.values() for name in each]
    players = (*those((MODEL,)), *ours)
    journal = folder / f"played-{suite.seeds}.jsonl"
    played = tournament(suite, players, journal, progress=_progress)
    pairs = list(zip(names[LESSON], names[PLAIN], strict=True))
    return {
        "steps": runs[PLAIN][0].recipe.steps,
        "cases": len(played),
        "curves": {
            way: {str(run.recipe.seed): [asdict(one) for one in run.curve] for run in each}
            for way, each in runs.items()
        },
        "kept": {
            way: [{"seed": r.recipe.seed, "step": r.step, "validation": r.ratio} for r in each]
            for way, each in runs.items()
        },
        "to model": {
            way: [ratios(played, [(name, MODEL)]) for name in each] for way, each in names.items()
        },
        "lessons to all at once": {
            "seeds": [ratios(played, [pair]) for pair in pairs],
            "all": ratios(played, pairs),
        },
    }


def _progress(done: int, of: int) -> None:
    if done % 104 == 0 or done == of:
        print(f"played {done} of {of}", flush=True)


def table(result: Mapping[str, Any]) -> str:
    """As Markdown."""
    beside = result["lessons to all at once"]
    lines = [
        "| seed | all at once, of `model` | lessons, of `model` | lessons, of all at once |",
        "|---|---|---|---|",
    ]
    for i, kept in enumerate(result["kept"][PLAIN]):
        both = (result["to model"][PLAIN][i], result["to model"][LESSON][i], beside["seeds"][i])
        lines.append(f"| {kept['seed']} | {' | '.join(map(_cell, both))} |")
    lines.append(f"| all | | | {_cell(beside['all'])} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Mean / p99 on {result['cases']} cases by which releases may be chosen, after "
            f"{result['steps']:,} steps of the simulator each; below 1 is faster. "
            f"`make curriculum`, commit `{short(result['commit'])}`.",
        ]
    )


def _cell(one: Mapping[str, Sequence[float]]) -> str:
    return f"{interval(one['mean'])} / {interval(one['p99'])}"


def main() -> None:
    made_by = commit()
    recipe = load(FOLDER / "residual-ppo.yaml")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=recipe.steps)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=1, help="of each family, size and load")
    parser.add_argument("--checks", type=int, default=192, help="validation cases")
    args = parser.parse_args()
    recipe = replace(
        recipe,
        steps=args.steps,
        seeds=tuple(range(1, args.seeds + 1)),
        check_cases=args.checks,
    )
    suite = Suite(seeds=args.cases, first_seed=RELEASE_SEEDS)
    folder = SCRATCH / code()
    runs = runs_of(recipe, folder)
    compared(runs, "residual-ppo", "mean latency / model").savefig(PICTURE, dpi=80)
    result = {"commit": made_by, **document(runs, folder, suite)}
    RESULT.write_text(json.dumps(result, separators=(",", ":")) + "\n")
    write_between(PAGE, table(result) + "\n", MARKS)


if __name__ == "__main__":
    main()
