"""Pictures: the learning curve, and what a policy goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.training.watch import Point


def plot(curve: Sequence[Point], path: Path, title: str) -> None:
    """Return of training episodes, and latency beside the base's on the validation cases."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot([p.step for p in curve], [p.reward for p in curve], linewidth=1.0)
    top.set_ylabel("return of episodes")
    top.set_title(title)
    checked = [p for p in curve if p.ratio is not None]
    bottom.plot([p.step for p in checked], [p.ratio for p in checked], marker="o", markersize=3)
    bottom.axhline(1.0, color="grey", linewidth=0.8)
    bottom.set_ylabel("mean latency / base")
    bottom.set_xlabel("steps")
    figure.savefig(path, dpi=110)


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
