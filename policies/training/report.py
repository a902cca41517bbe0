"""What came of training, to look at: pictures as PNG, and an HTML page that needs no other file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from policies.training.plot import curves, losses, searched
from policies.training.recipe import Recipe
from policies.training.sweep import Tried
from policies.training.train import Trained
from policies.training.watch import judged_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
_STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:64em;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}th,td{padding:.25em .8em;text-align:right}
th{border-bottom:1px solid #999}td{border-bottom:1px solid #eee}svg{max-width:100%;height:auto}
"""


def report_of_runs(runs: Sequence[Trained], folder: Path) -> None:
    """`curve.png`, `losses.png` where there are any, and the page, of runs with several seeds."""
    best = min(runs, key=lambda run: run.ratio)
    recipe = best.recipe
    seeds = ", ".join(str(run.recipe.seed) for run in runs)
    title = f"{recipe.name}, seed {seeds}"
    pictures = {"curve": curves(runs, title), "losses": losses(runs, title)}
    rows = [
        (
            str(run.recipe.seed),
            f"{run.ratio:.4f}",
            f"{run.step:,}",
            f"{run.curve[-1].reward:+.3f}",
            "kept" if run is best else "",
        )
        for run in runs
    ]
    note = (
        f"{recipe.algorithm}, {recipe.steps:,} steps. {judged_by(recipe.objective)} "
        f"({recipe.base}) on {recipe.check_cases} validation cases, geometric mean; below 1 is "
        "better. Lines are the mean over seeds, and the band is from the lowest to the highest."
    )
    head = ("seed", "best ratio", "at step", "last return", "")
    _write(folder, title, note, head, rows, pictures)


def report_of_sweep(recipe: Recipe, tried: Sequence[Tried], folder: Path) -> None:
    """`sweep.png` and the page, of settings, the best first."""
    title = f"{recipe.name}: {len(tried)} settings, {len(tried[0].ratios)} seeds each"
    what = judged_by(recipe.objective)
    note = (
        f"{what} on the validation cases of the recipe, of the best policy of each run; the mean "
        "over seeds is geometric. The best of many looks better than it is."
    )
    _write(folder, title, note, *table(tried), {"sweep": searched(tried, title, what)})


def table(tried: Sequence[Tried]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows, the best setting first."""
    head = (*tried[0].values, "mean", "lowest", "highest")
    rows = [
        (
            *(f"{v:.4g}" if isinstance(v, float) else str(v) for v in one.values.values()),
            f"{one.mean:.4f}",
            f"{min(one.ratios.values()):.4f}",
            f"{max(one.ratios.values()):.4f}",
        )
        for one in tried
    ]
    return head, rows


def _write(
    folder: Path,
    title: str,
    note: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    pictures: dict[str, Figure | None],
) -> None:
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1><p>{escape(note)}</p>",
        f"<table>{_row(head, 'th')}{''.join(_row(row, 'td') for row in rows)}</table>",
    ]
    for name, figure in pictures.items():
        if figure is None:
            continue
        figure.savefig(folder / f"{name}.png", dpi=110)
        parts.append(f"<h2>{name}</h2>{_svg(figure)}")
    (folder / PAGE).write_text("\n".join([*parts, "</body></html>"]) + "\n")


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _svg(figure: Figure) -> str:
    """As an element, without the head of a file."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]
