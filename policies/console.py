"""What the verbs of this package share: errors in one line, and a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from controlplane.errors import WeirError

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


@contextmanager
def plainly(console: Console, *, stopped: str = "") -> Iterator[None]:
    """What went wrong in one line, and status 1; `stopped`: what to say of Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"stopped{stopped and ': '}{stopped}", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except ModuleNotFoundError as error:
        extra = "ray" if error.name == "ray" else "train"
        console.print(
            f"error: {error.name} is not installed. It comes with an extra: in the checkout, "
            f".venv/bin/pip install -c constraints.txt -e '.[{extra}]'",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(1) from error
    except (WeirError, ValueError, OSError) as error:
        said = f"error: {error}"  # unbroken: a path in it is to be copied
        console.print(said, style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


class _Rate(ProgressColumn):
    """How much is done in a second, of late."""

    def render(self, task: Task) -> Text:
        """As text; nothing before there is a rate."""
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s" if speed >= 10.0 else f"{speed:.1f}/s")


@contextmanager
def bar(console: Console, what: str, total: int) -> Iterator[Callable[..., None]]:
    """A function to call with (done, note, of): what it says is on one line."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total, note="")

        def advance(done: int, note: str = "", of: int | None = None) -> None:
            whole = of or total
            # The last rollout is played to its end, which may be beyond what was asked for.
            progress.update(task, completed=min(done, whole), total=whole, note=note)

        yield advance
