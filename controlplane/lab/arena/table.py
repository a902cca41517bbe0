"""The result as a table in Markdown, and where it goes in a document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from controlplane.errors import ConfigurationError
from controlplane.lab.arena.contestants import CONTESTANTS
from controlplane.lab.arena.tally import ERRORS_MATTER, Estimate, Standing, Tally

BEGIN, END = "<!-- arena-table -->", "<!-- /arena-table -->"


def markdown(tally: Tally, facts: str) -> str:
    """A row for each scenario, a column for each lane; `facts` is the sentence about the run."""
    others = [name for name in tally.lanes if name != tally.reference]
    titles = [CONTESTANTS[name].title for name in others]
    reference = CONTESTANTS[tally.reference].title
    lines = [
        f"| scenario | {reference} | " + " | ".join(titles) + " | best stock |",
        "|---" * (len(others) + 3) + "|",
    ]
    for scenario in tally.scenarios:
        base = tally.standing(scenario, tally.reference)
        if base is None:
            lines.append(f"| {scenario} | not valid |" + " |" * (len(others) + 1))
            continue
        cells = [_cell(tally.standing(scenario, name), base) for name in others]
        best = tally.best(scenario, stock_of(tally.lanes))
        first = f"{base.mean_ms:.0f} / {base.p99_ms:.0f} ms" + _errors(base.error_ratio)
        cells.append("" if best is None else CONTESTANTS[best].title)
        lines.append(f"| {scenario} | {first} | " + " | ".join(cells) + " |")
    overall = [_pair(tally.overall(name, "mean"), tally.overall(name, "p99")) for name in others]
    if any(overall):
        lines.append("| all alike | | " + " | ".join(overall) + " | |")
    explained = (
        f"Ratios of latency to {reference}, mean / p99, below 1 is faster; **bold**: the 95 % "
        "interval over the seeds is on one side of 1. (x % errors): part of the requests that "
        "failed, where it is more than half a percent above the reference's; their latency does "
        "not count, so compare only where errors are alike. Best stock: in hindsight, by the mean, "
        "of those that fail at most half a percent more than the least."
    )
    return "\n".join([*lines, "", f"{explained} {facts}"]) + "\n"


def stock_of(lanes: Sequence[str]) -> list[str]:
    """Those that are Envoy alone."""
    return [name for name in lanes if CONTESTANTS[name].stock is not None]


def _cell(standing: Standing | None, base: Standing) -> str:
    if standing is None:
        return "not valid"
    more = standing.error_ratio - base.error_ratio > ERRORS_MATTER
    return _pair(standing.mean, standing.p99) + (_errors(standing.error_ratio) if more else "")


def _pair(mean: Estimate | None, p99: Estimate | None) -> str:
    return "" if mean is None or p99 is None else f"{_one(mean)} / {_one(p99)}"


def _one(estimate: Estimate) -> str:
    clear = estimate.seeds > 1 and estimate.verdict != "alike"
    return f"**{estimate.value:.2f}**" if clear else f"{estimate.value:.2f}"


def _errors(ratio: float) -> str:
    return f" ({100 * ratio:.1f} % errors)" if ratio > ERRORS_MATTER else ""


def require_markers(path: Path) -> None:
    """Raises `ConfigurationError` when there is no place for the table: ask before playing."""
    _split(path)


def write_between(path: Path, table: str) -> None:
    """Put the table between the markers."""
    before, after = _split(path)
    path.write_text(f"{before}{BEGIN}\n{table}{END}{after}")


def _split(path: Path) -> tuple[str, str]:
    text = path.read_text() if path.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigurationError(f"{path} has no {BEGIN} and {END}: put them where the table goes")
    return before, after
