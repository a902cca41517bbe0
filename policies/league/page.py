"""A league as one HTML file that needs no other: tables, verdicts, and heat maps to read."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from policies.league import tables
from policies.league.picture import MOST, colour, columns
from policies.league.written import MEASURES

_STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}th,td{padding:.25em .6em;text-align:left}
th{border-bottom:1px solid #999}td{border-bottom:1px solid #eee}
.heat td{text-align:right;border:1px solid #fff}.heat th{border:0;font-weight:400}
.heat th.p{writing-mode:vertical-rl;transform:rotate(180deg)}
.harm,.missed{color:#a11;font-weight:600}.gains,.reached{color:#161}.wide{overflow-x:auto}
"""


def page(league: Mapping[str, Any]) -> str:
    """The whole document."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>League</title>',
        f"<style>{_STYLE}</style></head><body><h1>League</h1>",
        f"<p>{escape(tables.caption(league)).replace('`', '')}</p>",
        _table(tables.players(league)),
    ]
    for name in league["verdicts"]:
        parts += [f"<h2>{escape(name)}</h2>", _table(tables.targets(league, name))]
        parts += [_table(tables.scenarios(league, name)), _by_load(league, name)]
    for m, measure in enumerate(MEASURES):
        parts.append(f"<h2>{measure} latency of every player, to FULL_SCAN</h2>")
        parts.append(_by_player(league, m))
    parts.append(f"<p>Colours end at {MOST:g} and at 1/{MOST:g}.</p></body></html>")
    return "\n".join(parts) + "\n"


def _table(table: tables.Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join(
        f"<tr>{''.join(f'<td class={_class(cell)}>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in table.rows
    )
    title = f"<h3>{escape(table.title)}</h3>"
    return f'{title}<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _class(cell: str) -> str:
    word = cell.partition(" ")[0]
    return f'"{word}"' if word in ("harm", "missed", "gains", "reached") else '""'


def _by_load(league: Mapping[str, Any], name: str) -> str:
    cells = league["cells"][name]
    loads = list(next(iter(cells.values())))
    head = "".join(f"<th>{float(load):.0%}</th>" for load in loads)
    rows = []
    for family, by_load in cells.items():
        pairs = "".join(_cell(pair[0], f"p99 {pair[1]:.2f}") for pair in by_load.values())
        rows.append(f"<tr><th>{escape(family)}</th>{pairs}</tr>")
    title = f"<h3>{escape(name)}: mean latency to FULL_SCAN by load (p99 on hover)</h3>"
    return f'{title}<table class="heat"><tr><th></th>{head}</tr>{"".join(rows)}</table>'


def _by_player(league: Mapping[str, Any], m: int) -> str:
    names = columns(league)
    head = "".join(f'<th class="p">{escape(name)}</th>' for name in names)
    rows = []
    for family, by_player in league["families"].items():
        cells = "".join(_cell(by_player[name][m], f"{name} in {family}") for name in names)
        rows.append(f"<tr><th>{escape(family)}</th>{cells}</tr>")
    table = f'<table class="heat"><tr><th></th>{head}</tr>{"".join(rows)}</table>'
    return f'<div class="wide">{table}</div>'


def _cell(ratio: float, title: str) -> str:
    dark = ";color:#fff" if not 1.0 / 1.7 < ratio < 1.7 else ""
    style = f"background:{colour(ratio)}{dark}"
    return f'<td style="{style}" title="{escape(title)}">{ratio:.2f}</td>'
