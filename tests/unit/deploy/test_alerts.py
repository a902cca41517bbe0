"""The alerts: read by promtool, fired by series that should, quiet on series that should not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy import promtool

ROOT = Path(__file__).parents[3]
RULES = ROOT / "charts" / "weir" / "alerts" / "weir.yaml"
PAGE = (ROOT / "docs" / "alerts.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()
PLACE = 'cluster="here",namespace="weir"'

pytestmark = pytest.mark.prometheus


@dataclass(frozen=True)
class Case:
    """Series (promtool's notation, a sample a minute) by which an alert fires, and does not."""

    alert: str
    ill: dict[str, str]
    well: dict[str, str]
    at: str = "30m"


BUSY = {f"weir_services_decided_total{{{PLACE}}}": "0+600x300"}
CASES = (
    Case("WeirDown", {"other": "1x300"}, {f"weir_build_info{{{PLACE}}}": "1x300"}),
    Case(
        "WeirNoNumbers",
        BUSY
        | {
            f"weir_telemetry_log_entries_total{{{PLACE}}}": "7x300",
            f"weir_telemetry_load_reports_total{{{PLACE}}}": "7x300",
            f"weir_xds_streams{{{PLACE}}}": "3x300",
        },
        BUSY
        | {
            f"weir_telemetry_log_entries_total{{{PLACE}}}": "7x300",
            f"weir_telemetry_load_reports_total{{{PLACE}}}": "0+9x300",
            f"weir_xds_streams{{{PLACE}}}": "3x300",
        },
    ),
    Case(
        "WeirSourceFails",
        {f'weir_source_failures_total{{{PLACE},kind="deadline"}}': "0+30x300"},
        {f'weir_source_failures_total{{{PLACE},kind="deadline"}}': "0+1x300"},
    ),
    Case(
        "WeirDecisionsMissed",
        BUSY | {f"weir_decisions_missed_total{{{PLACE}}}": "0+90x300"},
        BUSY | {f"weir_decisions_missed_total{{{PLACE}}}": "0+30x300"},
    ),
    Case(
        "WeirProblemsInDocuments",
        {f"weir_configuration_problems{{{PLACE}}}": "2x300"},
        {f"weir_configuration_problems{{{PLACE}}}": "2x5 0x300"},
    ),
    Case(
        "WeirFrozen",
        {f"weir_frozen{{{PLACE}}}": "1x300"},
        {f"weir_frozen{{{PLACE}}}": "1x50 0x300"},
        "90m",
    ),
    Case(
        "WeirPolicyRefusedByGuard",
        {f'weir_guard_reasons_total{{{PLACE},code="fallback"}}': "0+60x300"},
        {f'weir_guard_reasons_total{{{PLACE},code="held"}}': "0+60x300"},
    ),
    Case(
        "WeirStateNotSaved",
        {f"weir_store_waiting_services{{{PLACE}}}": "4x300"},
        {f"weir_store_waiting_services{{{PLACE}}}": "0x300"},
    ),
    Case(
        "WeirEnvoyRefuses",
        {f'weir_xds_refused_seconds{{{PLACE},fleet="a/b",type="lds"}}': "0+60x300"},
        {f'weir_xds_refused_seconds{{{PLACE},fleet="a/b",type="lds"}}': "5x300"},
    ),
    Case(
        "WeirEnvoySilent",
        {f'weir_xds_pending_seconds{{{PLACE},fleet="a/b",type="eds"}}': "0+60x300"},
        {f'weir_xds_pending_seconds{{{PLACE},fleet="a/b",type="eds"}}': "1x300"},
    ),
    Case(
        "WeirPushTakenBack",
        {f'weir_xds_staged_pushes_total{{{PLACE},outcome="unhealthy"}}': "0x25 1x300"},
        {f'weir_xds_staged_pushes_total{{{PLACE},outcome="done"}}': "0x25 1x300"},
    ),
    Case(
        "WeirCertificateEnds",
        {
            "weir_certificate_expiry_timestamp_seconds"
            f'{{{PLACE},kind="Secret",object="a/b",entry="tls.crt"}}': "500000x300"
        },
        {
            "weir_certificate_expiry_timestamp_seconds"
            f'{{{PLACE},kind="Secret",object="a/b",entry="tls.crt"}}': "900000x300"
        },
        "2h",
    ),
    Case(
        "WeirXdsCertificateEnds",
        {f"weir_xds_certificate_expiry_seconds{{{PLACE}}}": "500000-60x300"},
        {f"weir_xds_certificate_expiry_seconds{{{PLACE}}}": "900000-60x300"},
        "2h",
    ),
    Case(
        "WeirCredentialsRefused",
        {f'weir_xds_credentials_refused{{{PLACE},files="tls"}}': "1x300"},
        {f'weir_xds_credentials_refused{{{PLACE},files="tls"}}': "0x300"},
    ),
    Case(
        "WeirWorkersRestart",
        {f"weir_worker_restarts_total{{{PLACE}}}": "0+1x300"},
        {f"weir_worker_restarts_total{{{PLACE}}}": "0x20 1x300"},
    ),
    Case(
        "WeirReplicaHolds",
        {f'weir_replica_role{{{PLACE},pod="b",role="holds"}}': "1x300"},
        {
            f'weir_replica_role{{{PLACE},pod="b",role="holds"}}': "0x300",
            f'weir_replica_role{{{PLACE},pod="b",role="follows"}}': "1x300",
        },
    ),
    Case(
        "WeirServiceFails",
        {
            f'weir_endpoint_requests_total{{{PLACE},service="a/b",outcome="failure"}}': "0+10x300",
            f'weir_endpoint_requests_total{{{PLACE},service="a/b",outcome="success"}}': "0+90x300",
        },
        {
            f'weir_endpoint_requests_total{{{PLACE},service="a/b",outcome="failure"}}': "0+1x300",
            f'weir_endpoint_requests_total{{{PLACE},service="a/b",outcome="success"}}': "0+99x300",
        },
    ),
    Case(
        "WeirEnvoyAlone",
        {f"envoy_control_plane_connected_state{{{PLACE}}}": "1x5 0x300"},
        {f"envoy_control_plane_connected_state{{{PLACE}}}": "1x300"},
    ),
    Case(
        "WeirLimitsUncounted",
        {f"weir_rate_limit_store_failures_total{{{PLACE}}}": "0+600x300"},
        {f"weir_rate_limit_store_failures_total{{{PLACE}}}": "0+6x300"},
    ),
    Case(
        "WeirKubernetesGone",
        {f"weir_kubernetes_stale{{{PLACE}}}": "1x300"},
        {f"weir_kubernetes_stale{{{PLACE}}}": "1x4 0x300"},
    ),
)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def fires(case: Case, series: dict[str, str], folder: Path) -> bool:
    """Whether it is firing then, by promtool's own evaluation."""
    expr = f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}'
    return promtool.has(1, expr, series, folder, at=case.at, rules=(RULES,))


def test_each_alert_has_a_case() -> None:
    assert [rule["alert"] for rule in rules()] == [case.alert for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.alert)
def test_it_fires_when_it_should_and_not_when_it_should_not(case: Case, tmp_path: Path) -> None:
    assert fires(case, case.ill, tmp_path)
    assert not fires(case, case.well, tmp_path)


@pytest.mark.parametrize("rule", rules(), ids=lambda one: one["alert"])
def test_each_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "action"}
    assert f"docs/alerts.md#{rule['alert'].lower()}" in annotations["action"]
    assert f"\n## {rule['alert']}\n" in PAGE


def test_they_ask_for_metrics_that_there_are() -> None:
    described = set(re.findall(r"^\| `(weir_[a-z_]+)`", METRICS, re.MULTILINE))
    asked = {name for rule in rules() for name in re.findall(r"weir_[a-z_]+", rule["expr"])}
    assert asked <= described
