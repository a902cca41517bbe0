"""A league in words: Markdown for reports and the README, and rows for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.checkout import short
from controlplane.errors import WeirError
from policies.league.written import BEST, MEASURES, write

BEGIN, END = "<!-- league-table -->", "<!-- /league-table -->"
SHOWN = ("all", "50 to 70 %", "85 %", "95 %", "16 Envoys and more")
"""Blocks that are columns."""
_BEST = "best stock policy of each case in hindsight"


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a head, and rows of words."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> list[str]:
        """Its lines."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return [f"| {' | '.join(cells)} |" for cells in lines]


def players(league: Mapping[str, Any]) -> Table:
    """Every player to FULL_SCAN, the best first."""
    what = {one["name"]: one["what"] for one in league["players"]} | {BEST: _BEST}
    blocks = [one for one in league["blocks"] if one["name"] in SHOWN]
    whole = blocks[0]["players"]
    names = sorted(whole, key=lambda name: whole[name]["mean"][0])
    rows = []
    for name in names:
        sure = " / ".join(interval(whole[name][m], 2) for m in MEASURES)
        cells = [_two(block["players"][name]) for block in blocks[1:]]
        rows.append([what[name], sure, *cells, f"{whole[name]['errors']:.2%}"])
    head = ["", *(f"{one['name']} ({one['cases']})" for one in blocks), "errors"]
    return Table("mean / p99 relative to LEAST_REQUEST with FULL_SCAN", head, rows)


def targets(league: Mapping[str, Any], name: str) -> Table:
    """What a player has to reach."""
    rows = []
    for one in league["verdicts"][name]["targets"]:
        for measure, said in one["measures"].items():
            limit, verdict = said["limit"], said["verdict"] or ""
            wanted = "" if limit is None else f"{limit:.2f}"
            rows.append([one["target"], measure, wanted, interval(said["is"]), verdict])
    harm = league["verdicts"][name]["no_harm"]
    rows.append(["FULL_SCAN in every scenario", "both", "1.03 / 1.05", "below", harm])
    return Table(f"{name}: targets", ["against", "", "at most", "is", "verdict"], rows)


def scenarios(league: Mapping[str, Any], name: str) -> Table:
    """A verdict for each family."""
    rows = []
    for family, one in league["verdicts"][name]["scenarios"].items():
        counted, over = one["counted"], one["overloaded"]
        cells = [interval(counted[m]) if counted else "" for m in MEASURES]
        harm = ", ".join(f"{load:.0%}" for load in one["harm_at"])
        verdict = f"{one['verdict']} at {harm}" if harm else one["verdict"]
        errors = f"{counted['errors'][0]:.2%}, {counted['errors'][1]:.2%}" if counted else ""
        number = str(counted["cases"]) if counted else "0"
        apart = f"{_two(over)} ({over['cases']})" if over else ""
        rows.append([family, number, *cells, errors, verdict, apart])
    head = ["scenario", "n", "mean", "p99", "errors: it, FULL_SCAN", "verdict", "overloaded"]
    return Table(f"{name} to FULL_SCAN", head, rows)


def markdown(league: Mapping[str, Any]) -> str:
    """The whole report."""
    lines = ["# League", "", caption(league), "", *players(league).markdown(), ""]
    for name in league["verdicts"]:
        lines += [f"## {name}", "", *targets(league, name).markdown(), ""]
        lines += [*scenarios(league, name).markdown(), ""]
    lines += ["## How to read it", "", *_NOTES, ""]
    return "\n".join(lines)


_NOTES = (
    "- Ratios are geometric means over cases, with 95 % intervals in brackets: services (a family, "
    "a size and a seed, at all loads) are resampled inside of their family. Below 1 is faster.",
    "- *reached*: the whole interval is at the limit or below; *missed*: all of it is above; "
    "*open*: the limit is inside; a measure without a limit decides nothing. *gains*: no harm, and "
    "both intervals are below 1.",
    "- *harm at 95 %*: at this load the whole interval of the mean or of p99 is above its limit, "
    "whatever is gained at others.",
    "- *Overloaded*: for a second or longer more is asked for than there is capacity. Such cases "
    "are in the table of players, and are not counted by targets and verdicts.",
    "- The best stock policy in hindsight is, case by case and for each measure of its own, the "
    "best of Envoy's release binary; nobody can choose so well beforehand.",
    "- With some thirty scenarios and two measures each, about one in forty is outside of its "
    "interval on the wrong side by chance.",
)


def for_readme(league: Mapping[str, Any]) -> str:
    """The table of players, and where what is released falls short."""
    lines = [*players(league).markdown(), ""]
    for name, verdict in league["verdicts"].items():
        lines.append(f"- `{name}`: {_summary(verdict)}")
    return "\n".join([*lines, "", caption(league)]) + "\n"


def _summary(verdict: Mapping[str, Any]) -> str:
    words: dict[str, list[str]] = {}
    for family, one in verdict["scenarios"].items():
        at = ", ".join(f"{load:.0%}" for load in one["harm_at"])
        words.setdefault(one["verdict"], []).append(f"{family} ({at})" if at else family)
    parts = []
    for word in ("gains", "no harm"):
        if word in words:
            parts.append(f"{word} in {len(words[word])} scenarios")
    for word in ("open", "harm", "overloaded"):
        if word in words:
            parts.append(f"{word} in {', '.join(words[word])}")
    measures = [
        (one["target"], measure, said)
        for one in verdict["targets"]
        for measure, said in one["measures"].items()
    ]
    for target, measure, said in measures:
        if said["limit"] is not None and said["verdict"] != "reached":
            parts.append(
                f"{said['verdict']}: {measure} against {target}, {interval(said['is'])} where at "
                f"most {said['limit']:.2f} is wanted"
            )
    return "; ".join(parts) + "."


def caption(league: Mapping[str, Any]) -> str:
    """What was played, and what it may flatter."""
    suite, about = league["suite"], league["about"]
    loads = ", ".join(f"{load:.0%}" for load in suite["loads"])
    sizes = ", ".join(f"{endpoints} x {proxies}" for endpoints, proxies in suite["sizes"])
    return (
        "Mean / p99 latency relative to LEAST_REQUEST with FULL_SCAN on the same requests, below 1 "
        f"is faster; in brackets the number of cases. Simulated: {suite['cases']} held-out cases, "
        f"{len(suite['families'])} scenarios at loads of {loads}, endpoints x Envoys {sizes}, "
        f"{suite['seeds']} seeds from {suite['first_seed']} on; {suite['overloaded']} of them "
        f"overloaded for a while. Made by `{about['command']}` at commit "
        f"`{short(about['commit'])}`."
        + "".join(f" Warning: {said}." for said in about.get("warnings", ()))
    )


def write_between(path: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put the table between the marks of a file."""
    before, after = around(path, marks)
    write(path, f"{before}{marks[0]}\n{text}{marks[1]}{after}")


def around(path: Path, marks: tuple[str, str] = (BEGIN, END)) -> tuple[str, str]:
    """What is before the marks of a file, and behind them. WeirError where they are not."""
    before, begin, rest = path.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise WeirError(
            f"{path} has no {marks[0]} and {marks[1]}: put them where the table belongs"
        )
    return before, after


def interval(values: Sequence[float | None], digits: int = 3) -> str:
    """`0.912 [0.880, 0.945]`."""
    ratio, low, high = ("?" if one is None else f"{one:.{digits}f}" for one in values)
    return f"{ratio} [{low}, {high}]"


def _two(one: Mapping[str, Any]) -> str:
    """`0.91 / 0.88`."""
    return " / ".join(f"{one[m][0]:.2f}" for m in MEASURES)
