"""Pictures of the result, as SVG. matplotlib (extra `bench`) is imported here and nowhere else."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from controlplane.lab.arena.contestants import CONTESTANTS
from controlplane.lab.arena.results import Heat
from controlplane.lab.arena.tally import MEASURES, Tally
from controlplane.lab.results import BUSY_LAG_P99_MS

COLOURS = dict(zip(CONTESTANTS, mpl.color_sequences["tab10"], strict=False))
MOST = 2.0
"""Ratios from 1 / MOST to MOST have a colour of their own."""
WIDTH = (0.4, 8.0)
"""Ratios that have a place in the plot of intervals."""
_TICKS = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
_NAMES = {"mean": "mean latency", "p99": "99th percentile"}


def heat_map(tally: Tally) -> str:
    """Scenarios by lanes: the ratio to the reference, blue where it is faster."""
    lanes = [name for name in tally.lanes if name != tally.reference]
    figure, axes = _figure(2, width=5.6 * 2, height=1.6 + 0.36 * len(tally.scenarios))
    for axis, measure in zip(axes, MEASURES, strict=True):
        values = np.full((len(tally.scenarios), len(lanes)), np.nan)
        for i, scenario in enumerate(tally.scenarios):
            for j, lane in enumerate(lanes):
                standing = tally.standing(scenario, lane)
                estimate = None if standing is None else standing.to(measure)
                if estimate is not None:
                    values[i, j] = estimate.value
                    clear = "bold" if estimate.verdict != "alike" else "normal"
                    deep = abs(math.log(estimate.value)) > 0.8 * math.log(MOST)
                    axis.text(j, i, f"{estimate.value:.2f}", ha="center", va="center", fontsize=8,
                              color="white" if deep else "black", fontweight=clear)  # fmt: skip
        with np.errstate(invalid="ignore"):
            shown = np.log(values)
        edge = math.log(MOST)
        axis.imshow(shown, cmap="RdBu_r", vmin=-edge, vmax=edge, aspect="auto", alpha=0.75)
        axis.set_title(f"{_NAMES[measure]}, ratio to {CONTESTANTS[tally.reference].title}")
        axis.set_xticks(range(len(lanes)), [CONTESTANTS[one].title for one in lanes], rotation=25,
                        ha="right", fontsize=8)  # fmt: skip
        axis.set_yticks(range(len(tally.scenarios)), tally.scenarios, fontsize=8)
    axes[1].set_yticklabels([])
    return _svg(figure, "heat-map")


def intervals(tally: Tally) -> str:
    """Each ratio with its 95 % interval."""
    lanes = [name for name in tally.lanes if name != tally.reference]
    figure, axes = _figure(
        2, width=11.2, height=1.2 + 0.11 * len(tally.scenarios) * (len(lanes) + 1)
    )
    for axis, measure in zip(axes, MEASURES, strict=True):
        for j, lane in enumerate(lanes):
            at, value, below, above = [], [], [], []
            for i, scenario in enumerate(tally.scenarios):
                standing = tally.standing(scenario, lane)
                estimate = None if standing is None else standing.to(measure)
                if estimate is not None:
                    at.append(i + 0.8 * (j + 0.5) / len(lanes) - 0.4)
                    value.append(estimate.value)
                    below.append(estimate.value - estimate.low)
                    above.append(estimate.high - estimate.value)
            axis.errorbar(value, at, xerr=(below, above), fmt="o", markersize=3.5, linewidth=1.2,
                          color=COLOURS[lane], label=CONTESTANTS[lane].title)  # fmt: skip
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_xlim(*WIDTH)
        axis.set_xticks(_TICKS, [f"{one:g}" for one in _TICKS])
        axis.minorticks_off()
        axis.set_title(f"{_NAMES[measure]}, ratio; left of the line is faster")
        axis.set_yticks(range(len(tally.scenarios)), tally.scenarios, fontsize=8)
        axis.set_ylim(len(tally.scenarios) - 0.5, -0.5)
        axis.grid(axis="x", linewidth=0.3)
    axes[1].set_yticklabels([])
    _legend(figure, axes[0])
    return _svg(figure, "intervals")


def course(heats: Sequence[Heat], events: Sequence[tuple[float, str]]) -> str | None:
    """Mean latency and 99th percentile of each second of one seed; None where nothing was kept."""
    rows: dict[str, Mapping[str, Sequence[float | None]]] = {}
    for heat in heats:
        for name, lane in heat.lanes.items():
            if lane.seconds_mean_ms and name not in rows:
                rows[name] = {"mean": lane.seconds_mean_ms, "p99": lane.seconds_p99_ms}
    if not rows:
        return None
    figure, axes = _figure(2, width=11.2, height=3.0)
    for axis, measure in zip(axes, MEASURES, strict=True):
        for name, row in rows.items():
            values = [math.nan if one is None else one for one in row[measure]]
            axis.plot(np.arange(len(values)) + 0.5, values, color=COLOURS[name], linewidth=1.0,
                      label=CONTESTANTS[name].title)  # fmt: skip
        for at_s, _ in events:
            axis.axvline(at_s, color="grey", linewidth=0.7, linestyle="--")
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
        axis.tick_params(which="both", labelsize=7)
        axis.set_xlabel("seconds")
        axis.set_title(f"{_NAMES[measure]} of each second, ms")
        axis.grid(linewidth=0.3)
    _legend(figure, axes[0])
    return _svg(figure, f"course-{heats[0].scenario}")


def lateness(heats: Sequence[Heat]) -> str:
    """How late generator and backends were at p99, of each heat that was played."""
    played = [one for one in heats if one.generator_lag_ms and one.backend_lag_ms]
    figure, (axis,) = _figure(1, width=11.2, height=2.4)
    at = np.arange(len(played))
    axis.bar(at - 0.2, [one.generator_lag_ms["p99"] for one in played], 0.4, label="generator")
    axis.bar(at + 0.2, [one.backend_lag_ms["p99"] for one in played], 0.4, label="backends")
    axis.axhline(BUSY_LAG_P99_MS, color="red", linewidth=0.8)
    axis.set_ylabel("ms late at p99")
    axis.set_xlabel("heat; above the line the machine was too busy")
    axis.legend(fontsize=7)
    return _svg(figure, "lateness")


def _figure(many: int, *, width: float, height: float) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, list(figure.subplots(1, many, squeeze=False)[0])


def _legend(figure: Figure, axis: Any) -> None:  # noqa: ANN401 - matplotlib's own
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=len(labels))


def _svg(figure: Figure, name: str) -> str:
    """The same for the same numbers: no date, no random names inside."""
    out = io.StringIO()
    with mpl.rc_context(
        {"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()
