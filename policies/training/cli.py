"""The verb `weir train`. torch is imported when it runs, not before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from controlplane.errors import WeirError
from policies.console import bar, plainly


def train(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe of ours.")],
    to: Annotated[Path, typer.Option("--to", help="The folder of the release.")],
    logs: Annotated[
        Path | None, typer.Option(help="TensorBoard, curve and plot; default: TO.logs.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    held_out: Annotated[
        int, typer.Option(help="Seeds of each family, load and size of the evaluation.")
    ] = 1,
) -> None:
    """Train a policy by a recipe, export it, evaluate it on held-out cases, write a release."""
    console = Console(stderr=True)
    with plainly(console):
        from policies.training.evaluate import release_suite
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
        with bar(console, "training", wanted.steps) as advance:
            trained = run(wanted, logs=logs, progress=advance)
        plot(trained.curve, logs / "curve.png", f"{wanted.name}, seed {wanted.seed}")
        with bar(console, "evaluating", 1) as advance:
            evaluation = release(
                trained,
                to,
                suite=release_suite(held_out),
                progress=lambda n, of: advance(n, "", of),
            )
        if evaluation:
            _show(evaluation, console)
        console.print(f"release in {to}, logs and curve in {logs}")


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
