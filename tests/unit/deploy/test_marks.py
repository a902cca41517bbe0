"""The marks of the dashboards, and what the autoscaler asks, evaluated by promtool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from deploy.grafana.draw import ANNOTATIONS
from deploy.grafana.queries import asked
from tests.unit.deploy import promtool

pytestmark = pytest.mark.prometheus

ROOT = Path(__file__).parents[3]
PLACE = 'cluster="here",namespace="weir"'


def pushes(outcome: str) -> str:
    return f'weir_xds_staged_pushes_total{{{PLACE},outcome="{outcome}"}}'


def decided_by(policy: str, service: str = "web") -> str:
    return f'weir_service_policy{{{PLACE},service="{service}",policy="{policy}"}}'


@dataclass(frozen=True)
class Case:
    """Series by which there are so many marks at minute 20, and by which there is none."""

    mark: str
    there: dict[str, str]
    quiet: dict[str, str]
    values: int = 1


CASES = (
    Case(
        "Frozen",
        {f"weir_frozen{{{PLACE}}}": "0x19 1x20"},
        {f"weir_frozen{{{PLACE}}}": "1x10 0x30"},
    ),
    Case(
        "Push taken back",
        {pushes("unhealthy"): "0x19 1x20", pushes("refused"): "3x19 4x20", pushes("done"): "5x40"},
        {pushes("unhealthy"): "0x10 1x30", pushes("done"): "0x19 1x20"},
        values=2,
    ),
    Case(
        "Push for all",
        {pushes("done"): "0x19 1x20"},
        {pushes("done"): "2x40", pushes("refused"): "0x19 1x20"},
    ),
    Case(
        "Policy changed",
        {  # one goes back to `model`, the other stays
            decided_by("learned"): "1x19 _x20",
            decided_by("model"): "_x20 1x20",
            decided_by("learned", "cart"): "1x40",
        },
        {decided_by("learned"): "1x40", decided_by("model", "new"): "_x20 1x20"},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.mark)
def test_there_is_a_mark_when_it_happens_and_not_otherwise(case: Case, tmp_path: Path) -> None:
    (expr,) = (expr for name, _, expr in ANNOTATIONS if name == case.mark)
    expr = asked(expr, window_s=60)
    assert promtool.has(case.values, expr, case.there, tmp_path, at="20m")
    assert promtool.has(0, expr, case.quiet, tmp_path, at="20m")


def test_each_mark_has_a_case() -> None:
    assert [name for name, _, _ in ANNOTATIONS] == [case.mark for case in CASES]


def test_the_autoscaler_asks_for_the_envoys_of_each_replica(tmp_path: Path) -> None:
    """The adapter's rule, filled in as the adapter does, on two replicas and two fleets."""
    values = yaml.safe_load((ROOT / "deploy/autoscaling/prometheus-adapter.yaml").read_text())
    (rule,) = values["rules"]["custom"]
    chart = (ROOT / "charts/weir/templates/hpa.yaml").read_text()
    assert f"metric: {{name: {rule['name']['as']}}}" in chart
    of = 'namespace="weir",pod="{}",fleet="{}",mode="delta"'
    series = {
        f"weir_xds_streams{{{of.format(pod, fleet)}}}": f"{number}x40"
        for pod, fleet, number in (("a", "x", 100), ("a", "y", 20), ("b", "x", 7))
    }
    expr = rule["metricsQuery"]
    for name, value in (
        ("<<.Series>>", "weir_xds_streams"),
        ("<<.LabelMatchers>>", 'namespace="weir",pod=~"a|b"'),
        ("<<.GroupBy>>", "pod"),
    ):
        expr = expr.replace(name, value)
    assert promtool.has(2, expr, series, tmp_path, at="20m")
    assert promtool.has(1, f"({expr}) == 120", series, tmp_path, at="20m")
    assert promtool.has(3, rule["seriesQuery"], series, tmp_path, at="20m")
