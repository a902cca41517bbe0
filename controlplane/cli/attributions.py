"""Attributions for people: of each group what moved its share, as percent and as a bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

GROUPS = 4
"""So many are shown, those that were moved most."""
FEATURES = 8
"""So many of each; what the others did is one line."""
HALF = 12
"""Cells of a bar on each side of nothing."""


def show(document: Mapping[str, Any], console: Console) -> None:
    """Print the `attributions` of an explanation."""
    why_not = document["why_not"]
    if why_not is not None:
        console.print(f"no attributions: {why_not}", highlight=False, markup=False)
        return
    groups = sorted(document["groups"], key=lambda one: -abs(one["moved"]))
    largest = max((abs(f["effect"]) for one in groups for f in one["features"]), default=0.0)
    for one in groups[:GROUPS]:
        console.print(_table(one, largest))
    if len(groups) > GROUPS:
        console.print(f"{len(groups) - GROUPS} more groups were moved less; -o json has them")
    console.print(
        f"{document['policy']} against its base; {document['method']} from {document['baseline']}",
        highlight=False,
        markup=False,
    )


def _table(group: Mapping[str, Any], largest: float) -> Table:
    table = Table(
        title=f"{group['group']}: {_percent(group['moved'])} of the base's share",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("feature", no_wrap=True)
    for name in ("here", "alike", "effect"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    features: Sequence[Mapping[str, Any]] = group["features"]
    for row in features[:FEATURES]:
        table.add_row(
            row["feature"],
            f"{row['value']:.2f}",
            f"{row['baseline']:.2f}",
            _percent(row["effect"]),
            bar(row["effect"], largest),
        )
    rest = group["unexplained"] + sum(row["effect"] for row in features[FEATURES:])
    table.add_row("all others", "", "", _percent(rest), bar(rest, largest))
    return table


def bar(effect: float, largest: float) -> str:
    """Left of the line what takes from the share, right of it what adds.

    >>> bar(0.5, 1.0), bar(-1.0, 1.0)
    ('            │██████', '████████████│')
    """
    cells = round(min(1.0, abs(effect) / largest) * HALF) if largest > 0.0 else 0
    if effect < 0.0:
        return f"{'█' * cells:>{HALF}}│"
    return f"{'':>{HALF}}│{'█' * cells}"


def _percent(log_factor: float) -> str:
    """
    >>> _percent(math.log(1.05)), _percent(-1e-9)
    ('+5.0 %', '+0.0 %')
    """
    return f"{round(100.0 * math.expm1(log_factor), 1) + 0.0:+.1f} %"
