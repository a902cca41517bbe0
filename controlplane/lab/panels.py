"""The live picture of a demo, as rich renderables. Draws what it is given; measures nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import ConsoleDimensions, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from controlplane.lab.backends import Counted
from controlplane.lab.results import Live
from controlplane.lab.scenarios import Stage

STYLES = {"weir": "bold cyan", "least_request": "yellow", "full_scan": "magenta"}
SHORT = {"weir": "Weir", "least_request": "LEAST_REQ", "full_scan": "FULL_SCAN"}
HISTORY = 400
"""Looks that are kept for the trends: 200 seconds."""
RECENT_LOOKS = 10
"""Looks (half-seconds) over which the shares of the traffic are counted."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Look:
    """All that is known at one moment."""

    live: Live
    counted: Counted | None
    """What the backends count, by lane."""
    explained: Mapping[str, Any] | None
    """The last tick of Weir, as its admin address explains it."""


class Picture:
    """Remembers the looks of a run and draws the newest."""

    def __init__(self, stage: Stage, titles: Mapping[str, str], weir_ports: Sequence[int]) -> None:
        self._stage = stage
        self._titles = titles
        self._ports = weir_ports
        self._looks: deque[Look] = deque(maxlen=HISTORY)
        first = float(stage.schedule.at_s[0]) if len(stage.schedule.at_s) else 0.0
        self._warmup_s = max(0.0, -first)

    def add(self, look: Look) -> None:
        """One more look."""
        self._looks.append(look)

    def draw(self, size: ConsoleDimensions) -> RenderableType:
        """The picture for a terminal of this size."""
        width, height = size.width, size.height
        tall = 1 if height < 36 else min(4, 1 + (height - 30) // 5)
        taken = 20 + (1 + tall) * len(self._titles) + len(self._stage.scenario.backends)
        return Group(
            self._head(width),
            Rule(style="dim"),
            self._lanes(),
            *self._trends(width, tall),
            Rule("backends: part of the requests in the last 5 s, by lane", style="dim"),
            self._backends(width),
            Rule("what Weir's guard said in the last tick", style="dim"),
            self._reasons(max(1, height - taken + 6)),
            self._foot(),
        )

    def _head(self, width: int) -> RenderableType:
        at_s = self._looks[-1].live.at_s
        until_s = self._stage.schedule.until_s
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(width=24)
        bar.add_column(ratio=1)
        bar.add_column(justify="right")
        if at_s < 0:
            phase, done = f"warm-up, {-at_s:.0f} s to go", 1 + at_s / max(1.0, self._warmup_s)
        else:
            phase, done = f"{min(at_s, until_s):.0f} of {until_s:.0f} s", at_s / until_s
        colour = "dim" if at_s < 0 else "cyan"
        bar.add_row(
            phase,
            ProgressBar(total=1.0, completed=min(1.0, max(0.0, done)), complete_style=colour),
            self._next(at_s),
        )
        title = Text.assemble(("Weir demo  ", "bold cyan"), self._stage.scenario.title)
        title.truncate(width, overflow="ellipsis")
        return Group(title, bar)

    def _next(self, at_s: float) -> Text:
        happened = [one for one in self._stage.announcements if one[0] <= at_s]
        coming = [one for one in self._stage.announcements if one[0] > at_s]
        if happened and (not coming or at_s - happened[-1][0] < 10):
            return Text(f"{at_s - happened[-1][0]:.0f} s ago: {happened[-1][1]}", "bold red")
        if coming:
            return Text(f"in {coming[0][0] - at_s:.0f} s: {coming[0][1]}", "red")
        return Text("")

    def _lanes(self) -> Table:
        table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("latency in ms", no_wrap=True)
        for name in ("last 5 s: mean", "p50", "p99", "so far: mean", "p50", "p99"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("in flight", justify="right", no_wrap=True)
        table.add_column("errors", justify="right", no_wrap=True)
        for name, lane in self._looks[-1].live.lanes.items():
            table.add_row(
                Text(self._titles.get(name, name), STYLES.get(name, "")),
                *(
                    _number(value)
                    for value in (
                        lane.now_mean_ms,
                        lane.now_p50_ms,
                        lane.now_p99_ms,
                        lane.mean_ms,
                        lane.p50_ms,
                        lane.p99_ms,
                    )
                ),
                str(lane.in_flight),
                Text(str(lane.errors), "bold red" if lane.errors else "dim"),
            )
        return table

    def _trends(self, width: int, tall: int) -> list[RenderableType]:
        """One line a lane, a column a second, all on one scale; a mark where something happened."""
        seconds = min(width - 11, HISTORY // 2)
        looks = list(self._looks)[::-2][:seconds][::-1]
        trends = {
            name: [one.live.lanes[name].now_mean_ms for one in looks]
            for name in self._looks[-1].live.lanes
        }
        known = [v for trend in trends.values() for v in trend if v is not None]
        low, top = (min(known), max(known)) if known else (0.0, 1.0)
        out: list[RenderableType] = [
            Rule(f"mean latency of 5 s, from {low:.0f} to {top:.0f} ms, over time", style="dim")
        ]
        for name, trend in trends.items():
            rows = area(trend, low, top, tall)
            for i, row in enumerate(rows):
                label = SHORT.get(name, name) if i == len(rows) - 1 else ""
                out.append(Text(f"{label:<10} {row}", STYLES.get(name, ""), no_wrap=True))
        out.append(self._marks(looks))
        return out

    def _marks(self, looks: Sequence[Look]) -> Text:
        times = [one.live.at_s for one in looks]
        line = [" "] * len(times)
        for at in (0.0, *(at for at, _ in self._stage.announcements)):
            if times and times[0] <= at <= times[-1]:
                line[sum(one < at for one in times)] = "▲" if at > 0 else "│"
        return Text(" " * 11 + "".join(line), "red", no_wrap=True)

    def _backends(self, width: int) -> Table:
        table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("backend", no_wrap=True)
        lanes = list(self._looks[-1].live.lanes)
        bar = max(6, min(18, (width - 62) // max(1, len(lanes))))
        for name in lanes:
            table.add_column(SHORT.get(name, name), no_wrap=True, width=bar + 5)
        for name in ("group", "weight", "ms", "in fl.", "capacity"):
            table.add_column(name, justify="right", no_wrap=True)
        shares = {name: self._shares(name) for name in lanes}
        top = max((s for one in shares.values() for s in one), default=0.0) or 1.0
        explained = self._explained()
        for i, spec in enumerate(self._stage.scenario.backends):
            cells = [
                Text.assemble(
                    (bar_line(shares[name][i] / top, bar), STYLES.get(name, "")),
                    f" {100 * shares[name][i]:3.0f}%",
                )
                for name in lanes
            ]
            table.add_row(self._label(i, spec.kind), *cells, *self._seen_by_weir(i, explained))
        return table

    def _label(self, i: int, kind: str) -> Text:
        at_s = self._looks[-1].live.at_s
        state = ""
        for event in self._stage.events:
            if event.backend == i and event.at_s <= at_s:
                state = "" if event.happening == "restore" else f" {event.happening}"
        return Text.assemble(f"{i + 1} {kind or 'equal'}", (state, "bold red"))

    def _shares(self, lane: str) -> list[float]:
        """The part of the recent arrivals that each backend of the lane got."""
        looks = [one.counted for one in self._looks if one.counted is not None]
        count = len(self._stage.scenario.backends)
        if not looks:
            return [0.0] * count
        newest = looks[-1][lane]
        before = looks[max(0, len(looks) - 1 - RECENT_LOOKS)][lane]
        arrived = [new.arrived - old.arrived for new, old in zip(newest, before, strict=True)]
        total = sum(arrived)
        return [one / total if total else 0.0 for one in arrived]

    def _explained(self) -> dict[str, Mapping[str, Any]]:
        document = self._looks[-1].explained or {}
        return {one.get("endpoint"): one for one in document.get("endpoints", ())}

    def _seen_by_weir(
        self, i: int, explained: Mapping[str, Mapping[str, Any]]
    ) -> tuple[str, str, str, str, str]:
        if i >= len(self._ports):
            return ("", "", "", "", "")
        one = explained.get(f"127.0.0.1:{self._ports[i]}")
        if one is None:
            return ("-", "-", "-", "-", "-")
        share = one.get("share")
        return (
            str(one.get("group", "-"))[:8],
            "-" if share is None else f"{100 * share:.1f}%",
            _number(_times(1000.0, one.get("latency_s"))),
            _number(one.get("in_flight"), 1),
            "-" if one.get("capacity_rps") is None else f"{one['capacity_rps']:.0f}/s",
        )

    def _reasons(self, room: int) -> RenderableType:
        document = self._looks[-1].explained
        if document is None:
            text = "nothing heard from weir serve" if "weir" in self._titles else "no Weir lane"
            return Text(text, "dim")
        lines = [Text(str(note), "dim") for note in document.get("notes", ())]
        for reason in document.get("reasons", ()):
            lines.append(Text.assemble((f"{reason.get('code')} ", "bold"), str(reason.get("text"))))
        if not lines:
            lines = [Text("nothing to object: the proposal went through as it was", "dim")]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines[:room])

    def _foot(self) -> Text:
        live = self._looks[-1].live
        late = bool(live.lag.problems())
        text = f"generator late by {live.lag.p50_ms:.1f} ms at p50, {live.lag.p99_ms:.1f} ms at p99"
        if late:
            text += ": too busy, this run will not be valid"
        document = self._looks[-1].explained
        if document is not None:
            text += f"; policy {document.get('policy')}, weights on {document.get('actuation')}"
        return Text(text, "bold red" if late else "dim", no_wrap=True, overflow="ellipsis")


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def area(values: Sequence[float | None], low: float, top: float, rows: int = 1) -> list[str]:
    """A chart of one character a value, `rows` high, on a scale from `low` to `top`.

    >>> area([0.0, 50.0, None, 100.0], 0.0, 100.0)
    ['▁▅ █']
    >>> area([0.0, 50.0, 100.0], 0.0, 100.0, rows=2)
    [' ▁█', '▁██']
    """
    steps = len(_BLOCKS) * rows
    scale = (steps - 1) / (top - low) if top > low else 0.0
    heights = [0 if v is None else 1 + int((v - low) * scale + 0.5) for v in values]
    lines = []
    for row in reversed(range(rows)):
        inside = (min(len(_BLOCKS), max(0, h - row * len(_BLOCKS))) for h in heights)
        lines.append("".join(_BLOCKS[h - 1] if h else " " for h in inside))
    return lines


def bar_line(part: float, width: int) -> str:
    """A bar that fills `part` of the width.

    >>> bar_line(0.5, 4)
    '██  '
    """
    eighths = round(8 * width * min(1.0, max(0.0, part)))
    full, rest = divmod(eighths, 8)
    bar = "█" * full + (_EIGHTHS[rest] if rest else "")
    return bar.ljust(width)
