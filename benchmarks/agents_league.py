"""Every algorithm in the league: trained on the simulator for as many steps, then played.

    python -m benchmarks.agents_league --only sac td3 --steps 19968

Each recipe is trained with its own settings and seed, but for `--steps` steps of the simulator, and
released into a scratch folder. What this recipe has released is not trained again, so the same
command goes on where it was stopped. Then all are played in one league, beside Envoy's own
balancing, `model`, PID and the policy that is installed. Writes agents-league.json and .md in
benchmarks/results, the table of docs/agents/README.md, and a line into the page of each algorithm.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policies.league.results import Results
    from policies.league.suite import Suite
    from policies.training.recipe import Recipe

RESULT = Path(__file__).parent / "results" / "agents-league"
PAGES = Path(__file__).parents[1] / "docs" / "agents"
SCRATCH = Path("runs/agents-league")
STEPS = 9_984
"""Whole rollouts of every recipe but those that learn from several tasks at once."""
INSTALLED = "learned"
RECIPES = {"ppo": "residual-ppo"}
"""Files that do not have the name of their algorithm."""
MARKS = ("<!-- league -->", "<!-- /league -->")
MEASURES = ("mean", "p99")
LOSES, OPEN = "loses", "not told apart"
OTHERS = ("model", "full_scan", "p2c", "pid")
CHECKED = (("sparse",), (0.85,), ((8, 4),))
"""Families, loads and sizes of the evaluation that a release must carry: the league is another."""


def recipes() -> dict[str, Recipe]:
    """By algorithm; PPO's is that of the installed policy, with as many steps as the others."""
    from policies.agents.registry import ALGORITHMS
    from policies.training.recipe import FOLDER, load

    files = {name: FOLDER / f"{RECIPES.get(name, name)}.yaml" for name in ALGORITHMS}
    return {name: replace(load(file), name=name) for name, file in files.items()}


def trained(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train and release, unless that was done; how it went."""
    from policies.league.suite import RELEASE_SEEDS, Suite
    from policies.training.release import release
    from policies.training.train import train

    target, told = folder / recipe.name, folder / f"{recipe.name}.json"
    wanted = json.loads(json.dumps(recipe.document(), default=dict))
    if told.exists() and (target / "model.onnx").exists():
        before: dict[str, Any] = json.loads(told.read_text())
        if before.get("recipe") == wanted:
            return before
    began = time.monotonic()
    done = train(recipe, logs=folder / f"{recipe.name}.logs", resume=True)
    seconds = time.monotonic() - began
    release(done, target, suite=Suite(*CHECKED, seeds=1, first_seed=RELEASE_SEEDS))
    result = {
        "recipe": wanted,
        "steps": done.curve[-1].step,
        "kept": done.step,
        "first": done.ratio == done.curve[0].ratio,
        "validation": round(done.ratio, 4),
        "seed": recipe.seed,
        "seconds": round(seconds),
        "bytes": (target / "model.onnx").stat().st_size,
    }
    told.write_text(json.dumps(result) + "\n")
    return result


def played(names: Sequence[str], folder: Path, suite: Suite, jobs: int) -> Results:
    """All of them on the same cases."""
    from policies.league.players import installed, released, those
    from policies.league.results import Results
    from policies.league.tournament import tournament

    ours = [released(name, (folder / name).resolve()) for name in names]
    wanted = (*OTHERS, INSTALLED, *names)
    players = those(wanted, [*installed(), *ours])
    journal = folder / "league.played.jsonl"
    return Results(tournament(suite, players, journal, jobs=jobs, progress=_progress), players)


def document(results: Results, suite: Suite, training: Mapping[str, Any]) -> dict[str, Any]:
    """Each algorithm to each of the others, with intervals."""
    from controlplane.checkout import commit

    names = (INSTALLED, *training)
    pairs = [(name, other) for name in names for other in OTHERS]
    found = results.ratios(pairs) or []
    ratios: dict[str, Any] = {name: {} for name in names}
    for (name, other), one in zip(pairs, found, strict=True):
        ratios[name][other] = {"mean": one.mean.document(), "p99": one.p99.document()}
    return {
        "commit": commit(),
        "released": released_by(),
        "cases": len(results.played),
        "families": len(suite.families),
        "loads": list(suite.loads),
        "sizes": [list(size) for size in suite.sizes],
        "seeds": suite.seeds,
        "first_seed": suite.first_seed,
        "training": dict(training),
        "ratios": ratios,
    }


def released_by() -> str:
    """The commit that trained the installed policy."""
    from policies.league.players import folder_of, released

    manifest = json.loads((folder_of(released(INSTALLED)) / "manifest.json").read_text())
    return str(manifest["commit"])


def verdict(ratio: Mapping[str, Sequence[float]]) -> str:
    """In words: in what it surely wins, if it surely loses in nothing."""
    if any(ratio[measure][1] > 1.0 for measure in MEASURES):
        return LOSES
    lower = [measure for measure in MEASURES if ratio[measure][2] < 1.0]
    return f"wins in {' and '.join(lower)}" if lower else OPEN


def table(result: Mapping[str, Any]) -> str:
    """All of them, the best first."""
    lines = [
        "| | that of step | to `model`: mean | p99 | | to FULL_SCAN: mean / p99 | to PID |",
        "|---|---|---|---|---|---|---|",
    ]
    ratios = result["ratios"]
    for name in sorted(ratios, key=lambda name: float(ratios[name]["model"]["mean"][0])):
        own, to_scan = ratios[name]["model"], ratios[name]["full_scan"]
        told = result["training"].get(name)
        called = f"[{name}]({name}.md)" if told else "the released policy"
        steps = _kept(told) if told else "another run"
        cells = [
            called,
            steps,
            _interval(own["mean"]),
            _interval(own["p99"]),
            verdict(own),
            _two(to_scan),
            _two(ratios[name]["pid"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", caption(result)])


def caption(result: Mapping[str, Any]) -> str:
    """What was played."""
    loads = ", ".join(f"{load:.0%}" for load in result["loads"])
    sizes = ", ".join(f"{endpoints} x {proxies}" for endpoints, proxies in result["sizes"])
    return (
        f"{result['cases']} held-out cases: {result['families']} scenarios at {loads}, endpoints x "
        f"Envoys {sizes}, {result['seeds']} seed(s) from {result['first_seed']} on; one training "
        f"seed each; the released policy is that of commit `{result['released'][:12]}`. "
        f"Below 1 is faster, 95 % intervals in brackets. `make agents-league`, commit "
        f"`{result['commit'][:12]}`."
    )


def line(name: str, result: Mapping[str, Any]) -> str:
    """For the page of an algorithm."""
    told, own = result["training"][name], result["ratios"][name]["model"]
    to_scan, to_pid = (result["ratios"][name][other] for other in ("full_scan", "pid"))
    said = verdict(own)
    words = {
        LOSES: "It does not win: it is worse than its base",
        OPEN: "It does not win: it cannot be told from its base",
    }.get(said, f"It {said} against its base")
    kept = f"the policy at step {told['kept']:,} was the best on validation cases and is played"
    if told["first"]:
        kept = (
            f"no later one was better on validation cases than that of the first rollout, at step "
            f"{told['kept']:,}, which is played"
        )
    return (
        f"{words}. After {told['steps']:,} steps of the simulator ({told['seconds']} s on a busy "
        f"core; {kept}), on {result['cases']} held-out cases: {_interval(own['mean'])} of `model` "
        f"in the mean, {_interval(own['p99'])} in p99; {_two(to_scan)} of FULL_SCAN, "
        f"{_two(to_pid)} of PID. All beside each other: [README](README.md#in-the-league)."
    )


def write(result: Mapping[str, Any]) -> None:
    """The table, and a line into each page."""
    from policies.league.tables import write_between

    RESULT.with_suffix(".md").write_text(report(result))
    write_between(PAGES / "README.md", table(result) + "\n", MARKS)
    for name in result["training"]:
        write_between(PAGES / f"{name}.md", line(name, result) + "\n", MARKS)


def report(result: Mapping[str, Any]) -> str:
    """The table as a file beside the other results, from where the pages are elsewhere."""
    linked = table(result).replace("](", "](../../docs/agents/")
    return f"# Algorithms in the league\n\n{linked}\n"


def _interval(values: Sequence[float]) -> str:
    from policies.league.tables import interval

    return interval(values)


def _two(ratio: Mapping[str, Sequence[float]]) -> str:
    return f"{ratio['mean'][0]:.2f} / {ratio['p99'][0]:.2f}"


def _kept(told: Mapping[str, Any]) -> str:
    return f"{told['kept']:,}{' (its first)' if told['first'] else ''}"


def _progress(done: int, of: int) -> None:
    print(f"played {done} of {of}", flush=True)


def main() -> None:
    from policies.league.suite import Suite

    known = recipes()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(known), default=list(known))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=1, help="of each family and size, played")
    parser.add_argument("--jobs", type=int, default=1, help="processes that play")
    parser.add_argument("--folder", type=Path, default=SCRATCH)
    parser.add_argument("--train-only", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    training = {}
    for name in arguments.only:
        told = trained(replace(known[name], steps=arguments.steps), arguments.folder)
        training[name] = {key: value for key, value in told.items() if key != "recipe"}
        print(f"{name}: {training[name]}", flush=True)
    if arguments.train_only:
        return
    suite = replace(Suite.quick(), seeds=arguments.seeds)
    results = played(arguments.only, arguments.folder, suite, arguments.jobs)
    result = document(results, suite, training)
    RESULT.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    write(result)


if __name__ == "__main__":
    main()
