"""The verbs `weir train` and `weir evaluate`. torch is imported when they run, not before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from controlplane.errors import WeirError


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"


def train(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe of ours.")],
    to: Annotated[Path, typer.Option("--to", help="The folder of the release.")],
    logs: Annotated[
        Path | None, typer.Option(help="TensorBoard, curve and plot; default: TO.logs.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    cases: Annotated[int, typer.Option(help="Held-out cases of each family and kind.")] = 12,
) -> None:
    """Train a policy by a recipe, export it, evaluate it on held-out cases, write a release."""
    console = Console(stderr=True)
    with _plainly(console):
        from policies.training.plot import plot
        from policies.training.recipe import FOLDER, load
        from policies.training.release import release
        from policies.training.train import train as run

        path = Path(recipe) if Path(recipe).is_file() else FOLDER / f"{recipe}.yaml"
        if not path.is_file():
            ours = ", ".join(sorted(one.stem for one in FOLDER.glob("*.yaml")))
            raise WeirError(f"no recipe {recipe}: neither a file nor one of ours ({ours})")
        wanted = load(path)
        wanted = replace(
            wanted,
            steps=wanted.steps if steps is None else steps,
            seed=wanted.seed if seed is None else seed,
        )
        logs = logs or to.with_name(f"{to.name}.logs")
        logs.mkdir(parents=True, exist_ok=True)
        with _bar(console, "training", wanted.steps) as advance:
            trained = run(wanted, logs=logs, progress=advance)
        plot(trained.curve, logs / "curve.png", f"{wanted.name}, seed {wanted.seed}")
        with _bar(console, "evaluating", 1) as advance:
            evaluation = release(
                trained, to, per_family=cases, progress=lambda n, of: advance(n, "", of)
            )
        _show(evaluation, console)
        console.print(f"release in {to}, logs and curve in {logs}")


def evaluate(
    release: Annotated[
        Path | None, typer.Option(help="Folder of a release; default: the installed one.")
    ] = None,
    cases: Annotated[int, typer.Option(help="Held-out cases of each family and kind.")] = 12,
    family: Annotated[list[str] | None, typer.Option(help="Only this family; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the held-out cases.")] = 5,
    output: Annotated[Output, typer.Option(help="table or json.")] = Output.TABLE,
) -> None:
    """Play equal (FULL_SCAN), P2C, model and learned on held-out cases and compare them."""
    console = Console(stderr=True)
    with _plainly(console):
        from policies.simulator import FAMILIES
        from policies.training.evaluate import held_out_cases, play, summary

        strange = sorted(set(family or ()) - set(FAMILIES))
        if strange:
            raise WeirError(f"no family {', '.join(strange)}; there are {', '.join(FAMILIES)}")
        drawn = held_out_cases(cases, families=family, seed=seed)
        with _bar(console, "playing", len(drawn)) as advance:
            played = play(drawn, release=release, progress=lambda n, of: advance(n, "", of))
        result = summary(played)
        if output is Output.JSON:
            typer.echo(json.dumps(result))
        else:
            _show(result, Console())


@contextmanager
def _plainly(console: Console) -> Iterator[None]:
    """What went wrong in one line, and status 1."""
    try:
        yield
    except ModuleNotFoundError as error:
        console.print(
            f"error: {error.name} is not installed. Training has an extra of its own: in the "
            "checkout, .venv/bin/pip install -c constraints.txt -e '.[train]'",
            style="red",
            markup=False,
            highlight=False,
        )
        raise typer.Exit(1) from error
    except (WeirError, ValueError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error


@contextmanager
def _bar(console: Console, what: str, total: int) -> Iterator[Callable[..., None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total, note="")

        def advance(done: int, note: str, of: int | None = None) -> None:
            progress.update(task, completed=done, total=of or total, note=note)

        yield advance


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
        "of 1; all intervals: --output json, or the card of a release",
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
                star = "*" if high < 1.0 or low > 1.0 else ""
                cells.append(f"{middle:.3f}{star if pair == 'learned/model' else ''}")
        cells.append(f"{block['learned/model']['errors'][0]:.2%}")
        table.add_row(*cells)
    console.print(table)
