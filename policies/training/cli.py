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
    from policies.training.plot import plot
    from policies.training.recipe import FOLDER, load
    from policies.training.release import release
    from policies.training.train import train as run

    console = Console(stderr=True)
    with _plainly(console):
        path = Path(recipe) if Path(recipe).is_file() else FOLDER / f"{recipe}.yaml"
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
    from policies.training.evaluate import held_out_cases, play, summary

    console = Console(stderr=True)
    with _plainly(console):
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


def _show(evaluation: Mapping[str, Any], console: Console) -> None:
    from policies.training.card import rows

    table = Table(title="ratios of latency on held-out cases, below 1 is better [95 %]")
    table.add_column("cases")
    table.add_column("n", justify="right")
    for pair in ("learned/model", "learned/equal", "model/equal", "learned/p2c"):
        a, b = pair.split("/")
        against = {"equal": "FULL_SCAN", "p2c": "P2C"}.get(b, b)
        table.add_column(f"{a} / {against}\nmean", justify="right")
        table.add_column("p99", justify="right")
    table.add_column("errors\nlearned, model", justify="right")
    for name, block in rows(evaluation):
        cells = [name, str(block["learned/model"]["cases"])]
        for pair in ("learned/model", "learned/equal", "model/equal", "learned/p2c"):
            for measure in ("mean", "p99"):
                middle, low, high = block[pair][measure]
                cells.append(f"{middle:.3f} [{low:.2f}, {high:.2f}]")
        cells.append(", ".join(f"{value:.2%}" for value in block["learned/model"]["errors"]))
        table.add_row(*cells)
    console.print(table)
