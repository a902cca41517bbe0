"""A dashboard as values: rows of panels, each with its questions to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

PLACE = 'namespace=~"$namespace",cluster=~"$cluster"'
"""Goes into the braces of every metric: which installation is looked at."""
SERVICE = f'{PLACE},service=~"$service"'


class Kind(StrEnum):
    """What a panel looks like."""

    LINES = "timeseries"
    AREA = "area"
    """Lines on top of one another."""
    STAT = "stat"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression in PromQL, with Grafana's variables, and the name of its lines."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture."""

    title: str
    what: str
    """What it says and what to make of it: shown when the mouse is over the title."""
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    unit: str = "short"
    """As Grafana names units: `reqps`, `s`, `percentunit`, `bytes`, `short`."""
    warn: float | None = None
    """From here on it is yellow."""
    alarm: float | None = None
    """From here on it is red."""
    most: float | None = None
    """The end of a gauge's scale."""
    steady: bool = False
    """Nothing is wrong while there are no lines, as of what happens only now and then."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side under a title."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard."""

    uid: str
    """Never changes: links and bookmarks go by it."""
    title: str
    what: str
    rows: tuple[Row, ...]
    by_service: bool = False
    """Whether one service (or several) is chosen."""

    def panels(self) -> Iterator[Panel]:
        """All of them, in order."""
        for row in self.rows:
            yield from row.panels


def lines(
    title: str,
    what: str,
    *queries: tuple[str, str],
    unit: str = "short",
    kind: Kind = Kind.LINES,
    steady: bool = False,
) -> Panel:
    """Something over time. `queries`: (expression, name of its lines)."""
    return Panel(title, what, tuple(Query(*one) for one in queries), kind, unit, steady=steady)


def number(
    title: str,
    what: str,
    expr: str,
    *,
    unit: str = "short",
    warn: float | None = None,
    alarm: float | None = None,
) -> Panel:
    """One number, with its course behind it."""
    return Panel(title, what, (Query(expr),), Kind.STAT, unit, warn, alarm)


def gauge(title: str, what: str, expr: str, *, warn: float, alarm: float) -> Panel:
    """A part of a whole, 0 to 1."""
    return Panel(title, what, (Query(expr),), Kind.GAUGE, "percentunit", warn, alarm, 1.0)
