"""What a person sees of a demo: a live picture on a terminal, plain lines elsewhere.

Everything live goes to stderr. The picture redraws about once a second, has no
thread of its own, and leaves the terminal as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Protocol

from rich.console import Console
from rich.live import Live as RichLive
from rich.table import Table

from controlplane.lab.panels import Look, Picture
from controlplane.lab.report import Report
from controlplane.lab.scenarios import Stage

LINE_EVERY_S = 5.0
DRAW_EVERY_S = 0.9
"""A picture costs some 20 ms, which the lanes would like to have."""


class View(Protocol):
    """What the demo tells while it runs."""

    def say(self, text: str) -> None:
        """A step of the start."""
        ...

    def started(
        self, stage: Stage, titles: Mapping[str, str], ports: Mapping[str, tuple[int, ...]]
    ) -> None:
        """The run begins; `ports` are the backends of each lane."""
        ...

    def update(self, look: Look) -> None:
        """New numbers."""
        ...

    def finished(self, report: Report) -> None:
        """The end: a plain table and what may be said of it."""
        ...


class PlainView:
    """Lines, for logs and pipes."""

    def __init__(self, console: Console, final: Console) -> None:
        self._console = console
        self._final = final
        self._next_s = float("-inf")
        self._announcements: list[tuple[float, str]] = []

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def started(
        self, stage: Stage, titles: Mapping[str, str], ports: Mapping[str, tuple[int, ...]]
    ) -> None:
        """What is played."""
        first = float(stage.schedule.at_s[0]) if len(stage.schedule.at_s) else 0.0
        self.say(f"{stage.scenario.name}: {stage.scenario.title}")
        self.say(
            f"warming up for {max(0.0, -first):.0f} s (not counted), "
            f"then {stage.schedule.until_s:.0f} s"
        )
        self._announcements = list(stage.announcements)

    def update(self, look: Look) -> None:
        """A line now and then, and one for each thing that happens."""
        live = look.live
        while self._announcements and live.at_s >= self._announcements[0][0]:
            at, text = self._announcements.pop(0)
            self.say(f"{at:6.1f} s  {text}")
        if live.at_s < self._next_s:
            return
        self._next_s = live.at_s + LINE_EVERY_S
        lanes = "; ".join(
            f"{name} mean {_ms(lane.now_mean_ms)} p99 {_ms(lane.now_p99_ms)}"
            + (f" errors {lane.errors}" if lane.errors else "")
            for name, lane in live.lanes.items()
        )
        self.say(f"{live.at_s:6.1f} s  {'warm-up: ' if live.at_s < 0 else ''}{lanes}")

    def finished(self, report: Report) -> None:
        """The table."""
        show_report(report, self._final)


class LiveView(PlainView):
    """The picture. Before it starts, and after its end, lines."""

    def __init__(self, console: Console, final: Console, stack: contextlib.ExitStack) -> None:
        super().__init__(console, final)
        self._stack = stack
        self._picture: Picture | None = None
        self._live: RichLive | None = None

    def started(
        self, stage: Stage, titles: Mapping[str, str], ports: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Take the terminal."""
        self._picture = Picture(stage, titles, ports.get("weir", ()))
        live = RichLive(
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live = self._stack.enter_context(live)

    def update(self, look: Look) -> None:
        """Draw again."""
        if self._picture is not None and self._live is not None:
            self._picture.add(look)
            if look.live.at_s >= self._next_s:
                self._next_s = look.live.at_s + DRAW_EVERY_S
                self._live.update(self._picture.draw(self._console.size), refresh=True)

    def finished(self, report: Report) -> None:
        """Give the terminal back, then the table."""
        self._stack.close()
        super().finished(report)


@contextlib.contextmanager
def open_view(final: Console) -> Iterator[View]:
    """The picture when stderr is a terminal, lines otherwise; `final` gets the table at the end."""
    console = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        if console.is_terminal and console.width >= 80 and console.height >= 25:
            yield LiveView(console, final, stack)
        else:
            yield PlainView(console, final)


def show_report(report: Report, console: Console) -> None:
    """The table of a finished run and what may be said of it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("lane")
    for name in ("requests", "errors", "mean", "p50", "p99", "Weir to it: mean", "p99"):
        table.add_column(name, justify="right")
    for name, lane in report.played.lanes.items():
        ratio = report.ratios.get(name)
        table.add_row(
            report.titles[name],
            str(lane.requests),
            str(lane.errors),
            _ms(lane.mean_ms()),
            _ms(lane.quantile_ms(0.5)),
            _ms(lane.quantile_ms(0.99)),
            *(("", "") if ratio is None else (f"{ratio.mean:.2f}", f"{ratio.p99:.2f}")),
        )
    console.print()
    console.print(table)
    console.print()
    for name, lane in report.played.lanes.items():
        for kind, count in lane.outcomes().items():
            console.print(f"{report.titles[name]}: {count} x {kind}", highlight=False)
    lag = report.played.lag
    console.print(
        f"Latency counts from the scheduled time and is that of successful requests; the generator "
        f"was {lag.p50_ms:.1f} ms late at p50, {lag.p99_ms:.1f} at p99.",
        highlight=False,
    )
    for sentence in report.sentences():
        console.print(sentence, highlight=False)


def _ms(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.0f} ms"


__all__ = ["LiveView", "Look", "PlainView", "View", "open_view", "show_report"]
