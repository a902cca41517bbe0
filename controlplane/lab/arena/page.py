"""The report as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from controlplane.lab.arena.contestants import CONTESTANTS
from controlplane.lab.arena.plots import course, heat_map, intervals, lateness
from controlplane.lab.arena.results import Heat
from controlplane.lab.arena.suite import of_suite
from controlplane.lab.arena.tally import Estimate, Tally
from controlplane.lab.scenarios import stage

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; }
table { border-collapse: collapse; font-size: 13px; }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.faster { background: #d8e8f6; } .slower { background: #f8dcd4; } .bad { color: #a00; }
small { color: #555; }
"""


def page(tally: Tally, table: str) -> str:
    """`table` is the one in Markdown, whose last lines say how it was made."""
    explained = table.rstrip().rpartition("\n\n")[2].replace("**", "")
    parts = [
        "<h1>The arena: balancing on real Envoys</h1>",
        f"<p>{escape(explained)}</p>",
        *_refused(tally.heats),
        _picture(heat_map(tally), "Ratios of latency by scenario and lane"),
        _picture(intervals(tally), "Ratios with their 95 % intervals"),
        "<h2>Numbers</h2>",
        _numbers(tally),
        "<h2>Scenario by scenario</h2>",
        *(part for name in tally.scenarios for part in _scenario(tally, name)),
        "<h2>How late the machine was</h2>",
        _picture(lateness(tally.heats), "Lateness of generator and backends in each heat"),
        _heats(tally.heats),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Arena</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _refused(heats: Sequence[Heat]) -> list[str]:
    bad = [one for one in heats if not one.valid]
    if not bad:
        return []
    return [
        f'<p class="bad">{len(bad)} of {len(heats)} heats do not count; see the last table.</p>'
    ]


def _picture(svg: str, about: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return f'<p><img alt="{escape(about)}" src="data:image/svg+xml;base64,{data}"></p>'


def _numbers(tally: Tally) -> str:
    head = "".join(f"<th>{escape(CONTESTANTS[name].title)}</th>" for name in tally.lanes)
    rows = [f"<tr><th>scenario</th>{head}</tr>"]
    for scenario in tally.scenarios:
        cells = []
        for name in tally.lanes:
            standing = tally.standing(scenario, name)
            if standing is None:
                cells.append('<td class="bad">not valid</td>')
                continue
            felt = f"{standing.mean_ms:.0f} / {standing.p99_ms:.0f} ms"
            failed = (
                f"<br>{100 * standing.error_ratio:.2f} % errors" if standing.error_ratio else ""
            )
            kind = "" if standing.mean is None else standing.mean.verdict
            cells.append(
                f'<td class="{kind}">{_interval(standing.mean)}{_interval(standing.p99)}'
                f"<small>{felt}{failed}</small></td>"
            )
        rows.append(f"<tr><td>{escape(scenario)}</td>{''.join(cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _interval(one: Estimate | None) -> str:
    return (
        "" if one is None else f"{one.value:.2f} <small>({one.low:.2f}-{one.high:.2f})</small><br>"
    )


def _scenario(tally: Tally, name: str) -> list[str]:
    scenario = of_suite(name)
    parts = [
        f"<h3>{escape(name)}</h3>",
        f"<p>{escape(scenario.title)}. {scenario.envoys} Envoys in each lane, "
        f"{scenario.rate_rps:.0f} requests/s, load {100 * scenario.load:.0f} %.</p>",
    ]
    kept = [h for h in tally.heats if h.scenario == name and h.valid]
    kept = [h for h in kept if any(lane.seconds_mean_ms for lane in h.lanes.values())]
    if kept:
        length = max(len(lane.seconds_mean_ms) for lane in kept[0].lanes.values())
        made = stage(scenario, seed=kept[0].seed, duration_s=length, envoys=scenario.envoys)
        happens = [(at, text) for at, text in made.announcements if at > 0]
        picture = course(kept, happens)
        if picture is not None:
            parts.append(_picture(picture, f"Latency second by second in {name}"))
        told = "; ".join(f"{at:.0f} s: {text}" for at, text in made.announcements)
        parts.append(f"<p><small>Seed {kept[0].seed}. {escape(told)}</small></p>")
    return parts


def _heats(heats: Sequence[Heat]) -> str:
    rows = [
        "<tr><th>heat</th><th>seed</th><th>lanes</th><th>generator late, p99 / most</th>"
        "<th>backends late, p99</th><th>attempt</th><th>why it does not count</th></tr>"
    ]
    for i, one in enumerate(heats):
        late, behind = one.generator_lag_ms, one.backend_lag_ms
        sent = f"{late['p99']:.1f} / {late['max']:.0f} ms" if late else ""
        served = f"{behind['p99']:.1f} ms" if behind else ""
        rows.append(
            f"<tr><td>{i}: {escape(one.scenario)}</td><td>{one.seed}</td>"
            f"<td>{escape(', '.join(one.drawn))}</td>"
            f"<td>{sent}</td><td>{served}</td><td>{one.attempt}</td>"
            f'<td class="bad">{escape("; ".join(one.reasons))}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"
