"""Pictures: learning curves, losses, searches, and what a policy goes by."""

# ruff: noqa: ANN401 - axes of matplotlib
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from policies.training.watch import judged_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from policies.training.sweep import Tried
    from policies.training.train import Trained

_ACROSS = 3
"""Panels beside each other."""


def curves(runs: Sequence[Trained], title: str) -> Figure:
    """Return of training episodes, and latency beside the base's on the validation cases.

    A thin line for each seed, a thick one for their mean, and between the lowest and the highest
    the spread.
    """
    figure, (top, bottom) = _figure(2, 1, (8.0, 5.6))
    _band(top, [[(p.step, p.reward) for p in run.curve] for run in runs])
    top.set_ylabel("return of episodes")
    top.set_title(title)
    checked = [[(p.step, p.ratio) for p in run.curve if p.ratio is not None] for run in runs]
    _band(bottom, checked, marker="o", markersize=3)
    bottom.axhline(1.0, color="grey", linewidth=0.8)
    bottom.set_ylabel(judged_by(runs[0].recipe.objective))
    bottom.set_xlabel("steps")
    return figure


def compared(ways: Mapping[str, Sequence[Trained]], title: str, what: str) -> Figure:
    """Latency on the validation cases by several ways of training: a thin line for each seed, a
    thick one for their mean, each way in its colour."""
    figure, (axes,) = _figure(1, 1, (6.4, 3.4))
    for i, (name, runs) in enumerate(ways.items()):
        checked = [[(p.step, p.ratio) for p in run.curve if p.ratio is not None] for run in runs]
        _band(axes, checked, color=f"C{i}", label=name)
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.set_title(title, fontsize=10)
    axes.set_ylabel(what)
    axes.set_xlabel("steps")
    axes.legend(fontsize=8)
    return figure


def losses(runs: Sequence[Trained], title: str) -> Figure | None:
    """What the updates said of themselves, each in a panel; None where they said nothing."""
    names = list(dict.fromkeys(n for run in runs for one in run.updates for n in one.losses))
    if not names:
        return None
    rows = -(-len(names) // _ACROSS)
    figure, panels = _figure(rows, _ACROSS, (9.0, 0.6 + 1.9 * rows))
    for panel, name in zip(panels, names, strict=False):
        said = [
            [(one.step, one.losses[name]) for one in run.updates if name in one.losses]
            for run in runs
        ]
        _band(panel, said)
        panel.set_title(name, fontsize=8)
        panel.tick_params(labelsize=7)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.suptitle(title, fontsize=10)
    return figure


def searched(tried: Sequence[Tried], title: str, what: str) -> Figure:
    """A panel for each field: its values, and `what` of each run; the best setting is red."""
    names = list(tried[0].values)
    figure, panels = _figure(1, len(names), (1.5 + 3.4 * len(names), 3.4), sharey=True)
    for panel, name in zip(panels, names, strict=True):
        values = [one.values[name] for one in tried]
        numbers = all(type(value) in (int, float) for value in values)
        for one in reversed(tried):  # the best on top
            x = one.values[name] if numbers else str(one.values[name])
            ratios = list(one.ratios.values())
            colour = "C3" if one is tried[0] else "C0"
            panel.plot([x] * len(ratios), ratios, "o", color=colour, markersize=3, alpha=0.5)
            panel.plot([x], [one.mean], "_", color=colour, markersize=14, markeredgewidth=2)
        if numbers and min(values) > 0 and max(values) / min(values) > 8:
            panel.set_xscale("log")
        panel.axhline(1.0, color="grey", linewidth=0.8)
        panel.set_xlabel(name)
    panels[0].set_ylabel(what)
    figure.suptitle(title, fontsize=10)
    return figure


def _figure(
    rows: int, columns: int, size: tuple[float, float], *, sharey: bool = False
) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel()


def _band(axes: Any, runs: Sequence[Sequence[tuple[int, float]]], **line: Any) -> None:
    """Each run, and where there are several, their mean and what is between them."""
    line = {"color": "C0"} | line
    drawn = [np.array(run, np.float64).T for run in runs if run]
    if all(run.shape[1] == 1 for run in drawn):
        line = {"marker": "o", "markersize": 3} | line  # a line of one point is not seen
    if len(drawn) < 2:
        for steps, values in drawn:
            axes.plot(steps, values, linewidth=1.0, **line)
        return
    steps = max(drawn, key=lambda run: run.shape[1])[0]
    values = np.array([np.interp(steps, *run) for run in drawn])
    axes.fill_between(
        steps,
        values.min(axis=0),
        values.max(axis=0),
        alpha=0.25,
        linewidth=0.0,
        color=line["color"],
    )
    for run in drawn:
        axes.plot(*run, linewidth=0.5, color=line["color"], alpha=0.6)
    axes.plot(steps, values.mean(axis=0), linewidth=1.6, **line)


def plot_importance(importance: Mapping[str, Any], path: Path) -> None:
    """Features as bars, the most important on top: by effect, and by swap."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    features = importance["features"]
    by = "swap" if any(one["effect"] is None for one in features.values()) else "effect"
    names = sorted(features, key=lambda name: (features[name][by], features[name]["swap"]))
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(names, [100.0 * (features[name]["effect"] or 0.0) for name in names], color="C0")
    left.set_title("effect of what differs between groups\n(integrated gradients)", fontsize=10)
    right.barh(names, [100.0 * features[name]["swap"] for name in names], color="C1")
    right.set_title("change when swapped with another service\n(permutation)", fontsize=10)
    for axes in (left, right):
        axes.set_xlabel("mean change of a share, log x 100 (about %)")
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", linewidth=0.4)
    figure.savefig(path, dpi=100, metadata={"Software": None})
