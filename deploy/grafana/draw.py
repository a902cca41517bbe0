"""Grafana's documents of our dashboards, by Grafana's own library (grafana-foundation-sdk).

What the ecosystem expects: a `datasource` variable that every panel uses, `namespace` and `cluster`
to choose an installation, stable uids, descriptions, links between the dashboards that keep the
time and the choice, annotations of what people and the control plane did.
"""

from __future__ import annotations

import json

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import gauge, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from deploy.grafana.board import PLACE, Board, Kind, Panel, Row

WIDTH = 24
HEIGHT, HEIGHT_OF_NUMBERS = 8, 4
TAG = "weir"
SOURCE = dashboard.DataSourceRef("prometheus", "${datasource}")
ANNOTATIONS = (
    ("Frozen", "red", f"max(weir_frozen{{{PLACE}}}) > 0"),
    (
        "Push taken back",
        "orange",
        "sum by (outcome) (increase(weir_xds_staged_pushes_total"
        f'{{{PLACE},outcome=~"refused|silent|unhealthy|no_verdict"}}[$__interval])) > 0',
    ),
    (
        "Push for all",
        "green",
        f'sum(increase(weir_xds_staged_pushes_total{{{PLACE},outcome="done"}}[$__interval])) > 0',
    ),
    (
        "Policy changed",
        "blue",
        f"sum by (service, policy) (weir_service_policy{{{PLACE}}})"
        f" unless sum by (service, policy) (weir_service_policy{{{PLACE}}} offset $__interval)"
        f" and on (service) sum by (service) (weir_service_policy{{{PLACE}}} offset $__interval)",
    ),
)
"""(name, colour, expression): where it has a value there is a mark."""


def document(board: Board) -> str:
    """The dashboard as JSON, the same for the same board."""
    made = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.what)
        .tags([TAG])
        .editable()
        .refresh("10s")
        .time("now-30m", "now")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(_others())
        .with_variable(_datasource())
    )
    for name, metric in _chosen(board):
        made = made.with_variable(_variable(name, metric))
    for name, colour, expr in ANNOTATIONS:
        made = made.annotation(
            builders.AnnotationQuery()
            .name(name)
            .datasource(SOURCE)
            .enable(True)
            .icon_color(colour)
            .expr(expr)
        )
    for row in board.rows:
        made = made.with_row(builders.Row(row.title))
        for panel, width in zip(row.panels, _widths(row), strict=True):
            made = made.with_panel(_panel(panel, width))
    drawn = made.build()
    for number, one in enumerate(drawn.panels or (), start=1):
        one.id_val = number
    return json.dumps(drawn, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _chosen(board: Board) -> list[tuple[str, str]]:
    """(variable, metric whose label of that name has the values)."""
    metric = "envoy_server_live" if board.uid == "weir-data-path" else "weir_build_info"
    chosen = [("cluster", metric), ("namespace", f'{metric}{{cluster=~"$cluster"}}')]
    if board.by_service:
        chosen.append(("service", f"weir_service_share{{{PLACE}}}"))
    return chosen


def _widths(row: Row) -> list[int]:
    """Numbers are narrow, the rest shares what is left, so that a row is a row."""
    numbers = sum(one.kind is Kind.STAT for one in row.panels)
    others = len(row.panels) - numbers
    narrow = 4 if others else WIDTH // numbers
    wide = (WIDTH - numbers * narrow) // max(others, 1)
    widths = [narrow if one.kind is Kind.STAT else wide for one in row.panels]
    widths[-1] += WIDTH - sum(widths)
    return widths


def _datasource() -> Builder[dashboard.VariableModel]:
    return builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _variable(name: str, metric: str) -> Builder[dashboard.VariableModel]:
    """All is `.*`, which also holds for series without the label."""
    return (
        builders.QueryVariable(name)
        .label(name.capitalize())
        .query(f"label_values({metric}, {name})")
        .datasource(SOURCE)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(text="All", value="$__all", selected=True))
    )


def _others() -> Builder[dashboard.DashboardLink]:
    return (
        builders.DashboardLink("Weir")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _panel(panel: Panel, width: int) -> Builder[dashboard.Panel]:
    made: timeseries.Panel | stat.Panel | gauge.Panel
    if panel.kind is Kind.STAT:
        made = stat.Panel().graph_mode(common.BigValueGraphMode.AREA).height(HEIGHT_OF_NUMBERS)
    elif panel.kind is Kind.GAUGE:
        made = gauge.Panel().min(0.0).height(HEIGHT)
    else:
        made = _lines(panel).height(HEIGHT)
    made = made.title(panel.title).description(panel.what).unit(panel.unit).span(width)
    made = made.datasource(SOURCE).thresholds(_thresholds(panel))
    if panel.most is not None:
        made = made.max(panel.most)
    for ref, query in zip("ABCDEFGH", panel.queries, strict=False):
        made = made.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend or "__auto")
            .datasource(SOURCE)
            .ref_id(ref)
        )
    return made


def _lines(panel: Panel) -> timeseries.Panel:
    legend = (
        common_builders.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    made = timeseries.Panel().legend(legend).min(0.0).show_points(common.VisibilityMode.NEVER)
    if panel.kind is Kind.AREA:
        stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL)
        made = made.stacking(stacking).fill_opacity(30.0)
    return made


def _thresholds(panel: Panel) -> Builder[dashboard.ThresholdsConfig]:
    steps = [dashboard.Threshold(None, "green")]
    steps += [
        dashboard.Threshold(value, colour)
        for value, colour in ((panel.warn, "yellow"), (panel.alarm, "red"))
        if value is not None
    ]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
