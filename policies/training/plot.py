"""The learning curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
