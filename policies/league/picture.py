"""The heat map: each scenario by each player, on a scale where as good as FULL_SCAN is white."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from policies.league.written import MEASURES

MOST = 2.0
"""The ratio, and one over it, at which colours end."""


def plot(league: Mapping[str, Any], path: Path) -> None:
    """Mean and p99 beside each other, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    families, names = list(league["families"]), columns(league)
    figure = Figure(
        figsize=(3.0 + 1.1 * len(names), 2.2 + 0.3 * len(families)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    norm = LogNorm(1.0 / MOST, MOST)
    for m, (axis, measure) in enumerate(zip(axes, MEASURES, strict=True)):
        values = np.array([[league["families"][f][n][m] for n in names] for f in families])
        axis.imshow(np.clip(values, 1.0 / MOST, MOST), cmap="RdBu_r", norm=norm, aspect="auto")
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right")
        axis.set_yticks(range(len(families)), families)
        axis.set_title(f"{measure} latency / FULL_SCAN")
        for (row, column), value in np.ndenumerate(values):
            pale = 1.0 / 1.6 < value < 1.6
            axis.text(
                column, row, f"{value:.2f}" if value < 10.0 else f"{value:.0f}",
                ha="center", va="center", fontsize=7, color="black" if pale else "white",
            )  # fmt: skip
    bar = figure.colorbar(
        ScalarMappable(norm, "RdBu_r"), ax=axes, shrink=0.6, ticks=[0.5, 0.7, 1.0, 1.4, 2.0]
    )
    bar.ax.set_yticklabels(["0.5 and less", "0.7", "1", "1.4", "2 and more"])
    bar.ax.minorticks_off()
    figure.savefig(path, dpi=110)


def columns(league: Mapping[str, Any]) -> list[str]:
    """Players, the best first, without the one that all are measured by."""
    whole = league["blocks"][0]["players"]
    return sorted((n for n in whole if n != "full_scan"), key=lambda n: whole[n]["mean"][0])


def colour(ratio: float) -> str:
    """Blue below 1, red above, white at 1; for HTML."""
    part = float(np.clip(np.log(ratio) / np.log(MOST), -1.0, 1.0))
    strong = np.array([178.0, 24.0, 43.0]) if part > 0.0 else np.array([33.0, 102.0, 172.0])
    mixed = 255.0 + abs(part) * 0.8 * (strong - 255.0)
    return "#{:02x}{:02x}{:02x}".format(*(int(value) for value in mixed))
