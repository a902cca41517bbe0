"""The verbs `weir sim ...`. numba and matplotlib are imported when they run, not before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from policies.simulator.calibrate import Fit
    from policies.simulator.recording import Recording

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
app.__doc__ = "The simulator: fit it to a service of yours."


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"


@app.callback()
def sim() -> None:
    """The simulator: fit it to a service of yours."""


@app.command()
def calibrate(
    recording: Annotated[Path, typer.Argument(help="CSV or JSON; see docs/simulator.md.")],
    proxies: Annotated[int, typer.Option(help="Envoys that sent requests.")],
    algorithm: Annotated[
        str, typer.Option(help="How they balanced: full_scan, least_request, ...")
    ] = "full_scan",
    to: Annotated[Path | None, typer.Option(help="Write the scenario here, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write recorded and simulated, as PNG.")] = None,
    output: Annotated[Output, typer.Option(help="table or json.")] = Output.TABLE,
) -> None:
    """Fit endpoints, workers and work to recorded metrics, and say how well that went."""
    console = Console(stderr=True)
    try:
        from policies.simulator.calibrate import calibrate as fitted
        from policies.simulator.case import Algorithm, Balancing
        from policies.simulator.recording import Recording

        if algorithm.upper() not in Algorithm.__members__:
            known = ", ".join(one.name.lower() for one in Algorithm)
            raise ValueError(f"no algorithm {algorithm}; there are {known}")
        if proxies < 1:
            raise ValueError("wanted one proxy or more")
        for path in (to, plot):  # what would fail at the end fails at the beginning
            if path is not None and not path.absolute().parent.is_dir():
                raise ValueError(f"there is no folder for {path}")
        read = Recording.read(recording)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("fitting", total=None)
            fit = fitted(
                read,
                proxies=proxies,
                balancing=Balancing(Algorithm[algorithm.upper()]),
                name=recording.stem,
                progress=lambda n, of: progress.update(task, completed=n, total=of),
            )
        document = fit.document()
        if to is not None:
            to.write_text(json.dumps(document, indent=1) + "\n")
        if plot is not None:
            _plot(read, fit, plot)
    except ModuleNotFoundError as error:
        words = f"{error.name} is not installed: the simulator is in the extra `train`"
        raise _failed(console, words) from error
    except (ValueError, OSError) as error:
        raise _failed(console, str(error)) from error
    if output is Output.JSON:
        typer.echo(json.dumps(document))
    else:
        _show(document, Console())


def _failed(console: Console, words: str) -> typer.Exit:
    console.print(f"error: {words}", style="red", markup=False, highlight=False)
    return typer.Exit(1)


def _show(document: Mapping[str, Any], console: Console) -> None:
    work, alike = document["work"], document["alike"]
    low, high = alike["capacity_rps"]
    table = Table(title="what endpoints can do", box=None, pad_edge=False)
    table.add_column("endpoint")
    table.add_column("requests/s when busy", justify="right")
    for endpoint, capacity in zip(document["endpoints"], document["capacity_rps"], strict=True):
        table.add_row(endpoint, f"{capacity:,.1f}")
    table.add_row("all", f"{sum(document['capacity_rps']):,.1f}")
    console.print(table)
    console.print(
        f"workers {document['workers']} (fits nearly as well: {alike['workers'][0]} to "
        f"{alike['workers'][1]}, capacity {low:,.0f} to {high:,.0f})\n"
        f"work {work['law']}, mean {work['mean_s'] * 1e3:.1f} ms, variation (scv) {work['scv']}",
        highlight=False,
    )
    for name, gap in document["gap"].items():
        recorded, simulated = document["recorded"][name], document["simulated"][name]
        console.print(
            f"{name.removesuffix('_s')}: recorded {recorded * 1e3:.1f} ms, simulated "
            f"{simulated * 1e3:.1f} ms ({gap:+.1%})",
            highlight=False,
        )


def _plot(recording: Recording, fit: Fit, path: Path) -> None:
    """Mean latency, 99th percentile and requests over time: recorded and simulated."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from policies.simulator.recording import Recording as Again

    played = Again.of(fit.case, 1, recording.window_s)
    figure = Figure(figsize=(8.0, 8.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True)
    for name, one in (("recorded", recording), ("simulated", played)):
        rows = len(one.succeeded)
        at = (np.arange(rows) + 1) * one.window_s
        count = np.nan_to_num(one.succeeded)
        for axis, values in ((axes[0], one.latency_s), (axes[1], one.latency_p99_s)):
            total = np.maximum(count.sum(1), 1.0)
            axis.plot(at, 1e3 * (count * np.nan_to_num(values)).sum(1) / total, label=name)
        axes[2].plot(at, one.ended.sum(1) / one.window_s, label=name)
    for axis, label in zip(
        axes, ("mean latency (ms)", "99th percentile (ms)", "requests/s"), strict=True
    ):
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    axes[0].legend()
    axes[2].set_xlabel("seconds")
    figure.savefig(path, dpi=110)
