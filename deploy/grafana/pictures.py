"""Pictures of the dashboards for the documentation: the demo is played, Prometheus is asked.

    python -m deploy.grafana.pictures [--duration 120] [--to docs/images/dashboards]

Grafana is not needed: panels are drawn by matplotlib where Grafana would have them, from the same
expressions over the same range.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from controlplane.lab.backends import run_backends
from controlplane.lab.load import play
from controlplane.lab.ports import free_ports
from controlplane.lab.prometheus import Scrape, run_prometheus
from controlplane.lab.scenarios import scenario_named, stage
from controlplane.lab.weir import run_weir_lane
from deploy.grafana.board import Board, Kind, Panel, Row
from deploy.grafana.boards import BOARDS
from deploy.grafana.queries import asked

TO = Path(__file__).parents[2] / "docs" / "images" / "dashboards"
LANE = "weir"
ENVOYS = 6
STEP_S = 1
LABELS = {"namespace": "weir-system", "cluster": "demo"}
UNITS = {
    "s": (1e3, "ms"),
    "percentunit": (100.0, "%"),
    "bytes": (2.0**-20, "MiB"),
    "Bps": (2.0**-10, "KiB/s"),
    "reqps": (1.0, "/s"),
    "ms": (1.0, "ms"),
}
"""(factor, name) of what is drawn for Grafana's units."""
LEGEND_AT_MOST = 6


@dataclass(frozen=True, slots=True)
class Line:
    """The course of one series."""

    name: str
    at_s: NDArray[np.float64]
    value: NDArray[np.float64]


def course(url: str, panel: Panel, start_s: float, end_s: float) -> list[Line]:
    """All series of a panel between two times."""
    found = []
    for query in panel.queries:
        parameters = urllib.parse.urlencode(
            {"query": asked(query.expr), "start": start_s, "end": end_s, "step": STEP_S}
        )
        with urllib.request.urlopen(f"{url}/api/v1/query_range?{parameters}", timeout=30.0) as got:
            document: dict[str, Any] = json.loads(got.read())
        for series in document["data"]["result"]:
            points = np.array(series["values"], dtype=np.float64)
            name = query.legend
            for label, text in series["metric"].items():
                name = name.replace(f"{{{{{label}}}}}", text)
            found.append(Line(name, points[:, 0] - start_s, points[:, 1]))
    return found


def picture(board: Board, url: str, start_s: float, end_s: float, file: Path) -> None:
    """Draw a dashboard."""
    columns = max(len(row.panels) for row in board.rows)
    with mpl.rc_context({"font.size": 7, "axes.titlesize": 8, "legend.fontsize": 6}):
        heights = [_height(row) for row in board.rows]
        figure = Figure(figsize=(12, sum(heights)), layout="constrained")
        figure.suptitle(board.title, fontsize=11)
        parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, row in zip(parts, board.rows, strict=True):
            part.suptitle(row.title, fontsize=8, x=0.01, ha="left", color="0.4")
            axes = part.subplots(1, len(row.panels), squeeze=False)[0]
            for one, panel in zip(axes, row.panels, strict=True):
                _draw(one, panel, course(url, panel, start_s, end_s), columns)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=90)


def _height(row: Row) -> float:
    """In inches."""
    return 1.1 if all(panel.kind is Kind.STAT for panel in row.panels) else 2.6


def _draw(axes: Axes, panel: Panel, found: Sequence[Line], columns: int) -> None:
    factor, unit = UNITS.get(panel.unit, (1.0, ""))
    axes.set_title(panel.title)
    if panel.kind in (Kind.STAT, Kind.GAUGE):
        values = [one.value[-1] * factor for one in found if math.isfinite(one.value[-1])]
        axes.axis("off")
        text = f"{values[0]:.3g} {unit}" if values else "-"
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=11 if columns > 4 else 16)
        return
    if panel.kind is Kind.AREA and found:
        at_s = np.unique(np.concatenate([one.at_s for one in found]))
        rows = [np.interp(at_s, one.at_s, one.value * factor, left=0, right=0) for one in found]
        axes.stackplot(at_s, rows, labels=[one.name for one in found], alpha=0.6)
    for one in found if panel.kind is Kind.LINES else ():
        axes.plot(one.at_s, one.value * factor, linewidth=0.9, label=one.name)
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel(unit)
    axes.set_xlabel("s", loc="right", labelpad=-8)
    axes.grid(alpha=0.3)
    if 0 < len(found) <= LEGEND_AT_MOST and any(one.name for one in found):
        axes.legend(loc="best", framealpha=0.6)


async def pictures(duration_s: float, to: Path) -> None:
    """Play the demo's scenario to Weir alone and draw what Prometheus saw of it."""
    made = stage(scenario_named("demo"), seed=1, duration_s=duration_s, envoys=ENVOYS)
    ports = free_ports(2 * ENVOYS)
    with tempfile.TemporaryDirectory(prefix="weir-pictures-") as name:
        folder = Path(name)
        async with (
            run_backends(made.scenario.backends, folder, lanes=(LANE,), orca=(LANE,)) as backends,
            run_weir_lane(backends.ports[LANE], folder, envoys=ENVOYS, ports=ports) as (_, served),
            run_prometheus(
                folder,
                Scrape("weir", (f"127.0.0.1:{served.admin_port}",), labels=LABELS),
                Scrape(
                    "envoy",
                    tuple(f"127.0.0.1:{port}" for port in ports[ENVOYS:]),
                    "/stats/prometheus",
                    labels=LABELS,
                ),
            ) as prometheus,
        ):
            start_s = time.time()
            listeners = ports[:ENVOYS]
            await play(
                made.schedule,
                {LANE: listeners},
                folder,
                backends=backends,
                events=made.events,
            )
            end_s = time.time()
            for board in BOARDS:
                file = to / f"{board.uid}.png"
                await asyncio.to_thread(picture, board, prometheus.url, start_s, end_s, file)
                print(file)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--duration", type=float, default=120.0)
    parser.add_argument("--to", type=Path, default=TO)
    asked_for = parser.parse_args()
    asyncio.run(pictures(asked_for.duration, asked_for.to))


if __name__ == "__main__":
    main()
