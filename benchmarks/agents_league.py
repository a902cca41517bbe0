"""Every algorithm in the league: trained on the simulator for as many steps, then played.

    python -m benchmarks.agents_league --only sac td3 --steps 199680

Each recipe is trained with its own settings and seed (MAML and Reptile with half of their slots, so
that they learn more often), but for `--steps` steps of the simulator, and released into a scratch
folder; `--jobs` are trained at a time. What this recipe has released with this code is not trained
again, and what was stopped is trained on, so the same command goes on where it was stopped. The
policy of the first rollout, which most algorithms play before they learn, does not count: the best
of those that were checked after it is played. Then all are played in one league, beside Envoy's own
balancing, `model`, PID and the policy that is installed. Writes agents-league.json and .md in
benchmarks/results, the table of docs/agents/README.md, and a line into the page of each algorithm.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlplane.checkout import commit, short

if TYPE_CHECKING:
    from torch import nn

    from policies.league.results import Results
    from policies.league.suite import Suite
    from policies.training.recipe import Recipe

RESULT = Path(__file__).parent / "results" / "agents-league"
PAGES = Path(__file__).parents[1] / "docs" / "agents"
SCRATCH = Path("runs/agents-league")
STEPS = 49_920
"""Whole rollouts of every recipe: 20 or 40 of most, 10 of MAML."""
FEWER = {"maml": 16, "reptile": 16}
"""Slots of each task, of those that learn from several tasks at once: with the 32 of their recipes
MAML would learn five times in as many steps."""
INSTALLED = "learned"
RELEASE = "release"
"""Folder in that of a run."""
RECIPES = {"ppo": "residual-ppo"}
"""Files that do not have the name of their algorithm."""
MARKS = ("<!-- league -->", "<!-- /league -->")
MEASURES = ("mean", "p99")
LOSES, OPEN = "loses", "not told apart"
UNCHANGED, KEPT = "had not learned yet", "keeps its base"
"""Of a network that is as it began."""
BASE_KEPT = ("offline",)
"""They begin with the base, and keep it unless their log shows that they learned a better one."""
OTHERS = ("model", "full_scan", "p2c", "pid")
CHECKED = (("sparse",), (0.85,), ((8, 4),))
"""Families, loads and sizes of the evaluation that a release must carry: the league is another."""
LONGEST = ("tqc", "sac", "td3", "hierarchy", "ppo", "recurrent-ppo")
"""They are begun first, so that the last to end is a short one."""


def recipes() -> dict[str, Recipe]:
    """By algorithm; PPO's is that of the installed policy, and some have fewer slots."""
    from policies.agents.registry import ALGORITHMS
    from policies.training.recipe import FOLDER, load

    files = {name: FOLDER / f"{RECIPES.get(name, name)}.yaml" for name in ALGORITHMS}
    found = {name: replace(load(file), name=name) for name, file in files.items()}
    for name, slots in FEWER.items():
        fewer = replace(found[name].settings, slots=slots)
        found[name] = replace(found[name], settings=fewer)
    return found


def run_of(recipe: Recipe, folder: Path) -> Path:
    """The folder of this recipe, trained by this code and these versions of the libraries."""
    from policies.training.train import key

    return folder / f"{recipe.name}-{recipe.steps}-{key(recipe)}"


def trained(recipe: Recipe, run: Path) -> dict[str, Any]:
    """Train and release into the folder, unless that was done; how it went."""
    from policies.league.suite import RELEASE_SEEDS, Suite
    from policies.training.release import release
    from policies.training.train import CHECKPOINT, TRAINED, train

    target, told, logs = run / RELEASE, run / "told.json", run / "logs"
    if told.exists():
        before: dict[str, Any] = json.loads(told.read_text())
        return before
    run.mkdir(parents=True, exist_ok=True)
    stopped = any((logs / name).exists() for name in (CHECKPOINT, TRAINED))
    began = time.monotonic()
    done = train(recipe, logs=logs, resume=True, first_counts=False)
    seconds = time.monotonic() - began
    release(done, target, suite=Suite(*CHECKED, seeds=1, first_seed=RELEASE_SEEDS))
    result = {
        "steps": done.curve[-1].step,
        "kept": done.step,
        "learned": learned(recipe, done.actor),
        "validation": round(done.ratio, 4),
        "seed": recipe.seed,
        "seconds": None if stopped else round(seconds),
        "bytes": (target / "model.onnx").stat().st_size,
    }
    new = told.with_suffix(".new")
    new.write_text(json.dumps(result) + "\n")
    os.replace(new, told)
    return result


def learned(recipe: Recipe, actor: nn.Module) -> bool:
    """Whether it is another network than the one that the recipe begins with."""
    import torch

    from policies.agents.registry import algorithm

    learner = algorithm(recipe.algorithm).learner(recipe.settings, recipe.world, recipe.seed)
    begun, now = learner.blank().state_dict(), actor.state_dict()
    return any(not torch.equal(begun[name].cpu(), now[name].cpu()) for name in now)


def all_trained(wanted: Mapping[Path, Recipe], jobs: int) -> dict[str, Any]:
    """Each recipe in its folder, so many at a time in processes of their own; how it went."""
    from policies.processes import processes

    told = {}
    queue = sorted(wanted.items(), key=lambda one: one[1].name not in LONGEST)
    with processes(jobs) as pool:
        sent = {pool.submit(trained, one, run): one.name for run, one in queue}
        for future in as_completed(sent):
            name = sent[future]
            told[name] = future.result()
            print(f"{name}: {told[name]}", flush=True)
    return {one.name: told[one.name] for one in wanted.values()}


def played(runs: Mapping[str, Path], journal: Path, suite: Suite, jobs: int) -> Results:
    """All of them on the same cases."""
    from policies.league.players import installed, released, those
    from policies.league.results import Results
    from policies.league.tournament import tournament

    ours = [released(name, (run / RELEASE).resolve()) for name, run in runs.items()]
    players = those((*OTHERS, INSTALLED, *runs), [*installed(), *ours])
    return Results(tournament(suite, players, journal, jobs=jobs, progress=_progress), players)


def document(results: Results, suite: Suite, training: Mapping[str, Any]) -> dict[str, Any]:
    """Each algorithm to each of the others, with intervals."""
    names = (INSTALLED, *training)
    pairs = [(name, other) for name in names for other in OTHERS]
    found = results.ratios(pairs) or []
    ratios: dict[str, Any] = {name: {} for name in names}
    for (name, other), one in zip(pairs, found, strict=True):
        ratios[name][other] = {"mean": one.mean.document(), "p99": one.p99.document()}
    return {
        "cases": len(results.played),
        "families": len(suite.families),
        "loads": list(suite.loads),
        "sizes": [list(size) for size in suite.sizes],
        "seeds": suite.seeds,
        "first_seed": suite.first_seed,
        "training": dict(training),
        "ratios": ratios,
    }


def installed_release() -> dict[str, str]:
    """Digest of the installed policy, and the commit that trained it."""
    from policies.league.players import folder_of, released

    manifest = json.loads((folder_of(released(INSTALLED)) / "manifest.json").read_text())
    return {name: str(manifest[name]) for name in ("digest", "commit")}


def verdict(ratio: Mapping[str, Sequence[float]]) -> str:
    """In words: in what it surely wins, if it surely loses in nothing."""
    if any(ratio[measure][1] > 1.0 for measure in MEASURES):
        return LOSES
    lower = [measure for measure in MEASURES if ratio[measure][2] < 1.0]
    return f"wins in {' and '.join(lower)}" if lower else OPEN


def said(name: str, result: Mapping[str, Any]) -> str:
    """The verdict on an algorithm; none on a network that is as it began."""
    told = result["training"].get(name)
    if told and not told["learned"]:
        return KEPT if name in BASE_KEPT else UNCHANGED
    return verdict(result["ratios"][name]["model"])


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
        steps = f"{told['kept']:,}" if told else "another run"
        cells = [
            called,
            steps,
            _interval(own["mean"]),
            _interval(own["p99"]),
            said(name, result),
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
        f"seed each; the released policy is that of commit "
        f"`{short(result['released']['commit'])}`. Below 1 is faster, 95 % intervals in brackets. "
        f"`make agents-league`, commit `{short(result['commit'])}`."
    )


def line(name: str, result: Mapping[str, Any]) -> str:
    """For the page of an algorithm."""
    told, own = result["training"][name], result["ratios"][name]["model"]
    to_scan, to_pid = (result["ratios"][name][other] for other in ("full_scan", "pid"))
    verdict_in_words = said(name, result)
    words = {
        LOSES: "It does not win: it is worse than its base",
        OPEN: "It does not win: it cannot be told from its base",
        UNCHANGED: "It had not learned yet: what is played is the network that it began with",
        KEPT: "What it learned is not shown to be better: its base itself is played",
    }.get(verdict_in_words, f"It {verdict_in_words} against its base")
    how = [f"{told['seconds']} s on a busy core"] if told["seconds"] is not None else []
    if told["learned"]:
        how.append(
            f"the policy at step {told['kept']:,} was the best on validation cases, and is played"
        )
    return (
        f"{words}. After {told['steps']:,} steps of the simulator{_in_brackets(how)}, "
        f"on {result['cases']} held-out cases: {_interval(own['mean'])} of `model` "
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


def _in_brackets(parts: Sequence[str]) -> str:
    return f" ({'; '.join(parts)})" if parts else ""


def _two(ratio: Mapping[str, Sequence[float]]) -> str:
    return f"{ratio['mean'][0]:.2f} / {ratio['p99'][0]:.2f}"


def _progress(done: int, of: int) -> None:
    print(f"played {done} of {of}", flush=True)


def main() -> None:
    from policies.league.suite import Suite
    from policies.league.tournament import cores

    known = recipes()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(known), default=list(known))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=1, help="of each family and size, played")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes that train and play")
    parser.add_argument("--folder", type=Path, default=SCRATCH)
    parser.add_argument("--train-only", action="store_true")
    arguments = parser.parse_args()
    made = {"commit": commit(), "released": installed_release()}
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes
    arguments.folder.mkdir(parents=True, exist_ok=True)
    wanted = [replace(known[name], steps=arguments.steps) for name in arguments.only]
    runs = {one.name: run_of(one, arguments.folder) for one in wanted}
    training = all_trained({runs[one.name]: one for one in wanted}, arguments.jobs)
    if arguments.train_only:
        return
    suite = replace(Suite.quick(), seeds=arguments.seeds)
    results = played(runs, arguments.folder / "league.played.jsonl", suite, arguments.jobs)
    result = made | document(results, suite, training)
    RESULT.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    write(result)


if __name__ == "__main__":
    main()
