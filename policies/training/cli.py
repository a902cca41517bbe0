"""The verbs `weir train` and `weir sweep`. torch is imported when they run, not before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from controlplane.errors import WeirError
from policies.console import bar, plainly

if TYPE_CHECKING:
    from policies.training.places import Place
    from policies.training.recipe import Recipe


Processes = Annotated[
    int | None, typer.Option("--workers", help="Processes at a time; default: one for each core.")
]
OnRay = Annotated[
    str | None,
    typer.Option("--ray", help="A Ray cluster to train on: its address, or `local` to start one."),
]
Named = Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe of ours.")]


def train(
    recipe: Named,
    to: Annotated[Path, typer.Option("--to", help="The folder of the release.")],
    logs: Annotated[
        Path | None,
        typer.Option(help="Checkpoints, TensorBoard, curves and report; default: TO.logs."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", help="Decisions of `weir serve --decision-log` to learn from."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="A run with each, as 1,2,3; the best is released.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run with these logs was stopped.")
    ] = False,
    workers: Processes = None,
    ray: OnRay = None,
    held_out: Annotated[
        int, typer.Option(help="Seeds of each family, load and size of the evaluation.")
    ] = 1,
) -> None:
    """Train a policy by a recipe, export it, evaluate it on held-out cases, write a release."""
    console = Console(stderr=True)
    with plainly(console, stopped="with --resume it goes on from its last checkpoint"):
        from policies.agents.registry import algorithm
        from policies.training.evaluate import release_suite
        from policies.training.release import place, release
        from policies.training.report import PAGE, report_of_runs
        from policies.training.runs import trained
        from policies.training.served import learned_from
        from policies.training.train import TRAINED

        if seed is not None and seeds is not None:
            raise WeirError("--seed or --seeds, not both")
        if log is not None and ray is not None:
            raise WeirError("--log is read on this machine: without --ray")
        wanted = _recipe(recipe, steps)
        if seed is not None:
            wanted = replace(wanted, seed=seed, seeds=())
        if seeds is not None:
            wanted = replace(wanted, seeds=_numbers(seeds))
        to, suite = place(to), release_suite(held_out)  # refused here rather than after training
        logs = (logs or to.with_name(f"{to.name}.logs")).resolve()
        if logs.is_relative_to(to):
            raise WeirError(f"--logs {logs} is in the folder of the release, which is made anew")
        runs = [(one, logs / f"seed-{one.seed}") for one in wanted.runs()]
        if resume and not any(folder.exists() for _, folder in runs):
            console.print(f"nothing to resume in {logs}: begun anew")
        with _place(ray, workers) as cores, bar(console, _doing(wanted), _steps(runs)) as advance:
            ended = trained(runs, cores, resume=resume, progress=advance, log=log)
        report_of_runs(ended, logs)
        best = min(ended, key=lambda one: one.ratio)
        if best.log is not None:
            console.print(learned_from(best.log, best.updates[-1].losses))
        with bar(console, "evaluating", 1) as advance:
            evaluation = release(
                best,
                to,
                suite=suite,
                progress=lambda n, of: advance(n, "", of),
            )
        if evaluation:
            _show(evaluation, console)
        if beside := algorithm(best.recipe.algorithm).beside:
            kept = logs / f"seed-{best.recipe.seed}" / TRAINED
            console.print(f"{beside} are in {kept} alone: a release has no place for them")
        console.print(f"release in {to}, of seed {best.recipe.seed}; report in {logs / PAGE}")


def sweep(
    recipe: Named,
    to: Annotated[Path, typer.Option("--to", help="The folder of runs, table, plot and JSON.")],
    over: Annotated[
        list[str],
        typer.Option(help="A field and its values: ppo.discount=0.8,0.9 or LOW..HIGH[:log]."),
    ],
    draw: Annotated[
        int | None, typer.Option(help="So many settings by chance instead of all combinations.")
    ] = None,
    chance: Annotated[int, typer.Option(help="The seed that settings are drawn by.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    seeds: Annotated[str, typer.Option(help="Each setting is trained with each.")] = "1,2",
    workers: Processes = None,
    ray: OnRay = None,
) -> None:
    """Train a recipe with other values of its fields; which do best on the validation cases."""
    console = Console(stderr=True)
    with plainly(console, stopped="the same command goes on from here"):
        from policies.training import sweep as search
        from policies.training.report import PAGE, report_of_sweep, table
        from policies.training.watch import judged_by

        wanted, fields, each = _recipe(recipe, steps), search.over(over), _numbers(seeds)
        tried = search.settings(fields, draw, chance)
        total = len(each) * sum(search.changed(wanted, one).steps for one in tried)
        with _place(ray, workers) as place, bar(console, "training", total) as advance:
            results = search.sweep(
                wanted, fields, to, place, seeds=each, draws=draw, chance=chance, progress=advance
            )
        report_of_sweep(wanted, results, to)
        head, rows = table(results)
        shown = Table(*head, title=f"{judged_by(wanted.objective)} on validation cases", box=None)
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
        console.print(f"{len(results)} settings, the best first; {to / PAGE}, {search.RESULT}")


def _recipe(name: str, steps: int | None) -> Recipe:
    from policies.training.recipe import FOLDER, load

    path = Path(name) if Path(name).is_file() else FOLDER / f"{name}.yaml"
    if not path.is_file():
        ours = ", ".join(sorted(one.stem for one in FOLDER.glob("*.yaml")))
        raise WeirError(f"no recipe {name}: neither a file nor one of ours ({ours})")
    recipe = load(path)
    return recipe if steps is None else replace(recipe, steps=steps)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError:
        raise WeirError(f"seeds: wanted numbers as 1,2,3, got {text!r}") from None


def _doing(recipe: Recipe) -> str:
    begun = recipe.start
    return "training" if begun is None else f"training, from {escape(begun.release)} on"


def _steps(runs: Sequence[tuple[Recipe, Path]]) -> int:
    return sum(recipe.steps for recipe, _ in runs)


@contextmanager
def _place(ray: str | None, workers: int | None) -> Iterator[Place]:
    if workers is not None and workers < 1:
        raise WeirError(f"--workers: wanted at least 1, got {workers}")
    if ray is None:
        from policies.training.places import Local

        yield Local(workers)
        return
    from policies.training.on_ray import OnRay

    cluster = OnRay(ray, workers)
    try:
        yield cluster
    finally:
        cluster.close()


_PAIRS = {
    "L/M": "learned/model",
    "L/F": "learned/equal",
    "M/F": "model/equal",
    "L/P": "learned/p2c",
}
"""Letter by letter what the caption says, so that a line fits in 80 columns."""


def _show(evaluation: Mapping[str, Any], console: Console) -> None:
    from policies.training.card import rows

    table = Table(
        title="ratios of latency on held-out cases, below 1 is better",
        caption="L: learned, M: model, F: FULL_SCAN, P: P2C. * the 95 % interval is on one side "
        "of 1; all intervals: the card of the release",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("cases", no_wrap=True)
    table.add_column("n", justify="right")
    for letters in _PAIRS:
        table.add_column(f"{letters}\nmean", justify="right")
        table.add_column("\np99", justify="right")
    table.add_column("errors", justify="right")
    for name, block in rows(evaluation):
        cells = [name, str(block["learned/model"]["cases"])]
        for pair in _PAIRS.values():
            for measure in ("mean", "p99"):
                middle, low, high = block[pair][measure]
                known = low is not None and high is not None
                star = "*" if known and (high < 1.0 or low > 1.0) else ""
                cells.append(f"{middle:.3f}{star if pair == 'learned/model' else ''}")
        cells.append(f"{block['learned/model']['errors'][0]:.2%}")
        table.add_row(*cells)
    console.print(table)
