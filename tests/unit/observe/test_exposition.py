from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from controlplane.front.door import Door
from controlplane.front.pool import Pool
from controlplane.front.worker import own_metrics
from controlplane.kubernetes.cluster import Cluster, Place
from controlplane.kubernetes.webhook.app import WebhookApp
from controlplane.limits.limiter import Limiter
from controlplane.limits.memory import MemoryCounters
from controlplane.limits.metrics import LimitMetrics
from controlplane.observe.in_process import InProcessSource
from controlplane.replicas.metrics import ReplicaMetrics
from controlplane.telemetry.certificates import CertificateWatch
from controlplane.telemetry.metrics import LoopMetrics
from controlplane.telemetry.services import ServiceCollector
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.exposition import StagedCollector, XdsCollector
from controlplane.xds.staged import StagedSink
from controlplane.xds.telemetry import TelemetryMetrics
from tests.unit.observe.messages import (
    PROXY,
    Clock,
    cluster_stats,
    endpoint_stats,
    entry,
    logs,
    report,
    service,
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def filled_source() -> InProcessSource:
    source = InProcessSource(Clock())
    source.declare([service()])
    busy = endpoint_stats(
        succeeded=8, failed=2, in_progress=3, metrics={"cpu_utilization": (10, 4.0)}
    )
    source.load_reports.on_load_report(PROXY, report(cluster_stats(busy)), first=False)
    source.access_logs.on_access_logs(
        PROXY,
        logs(
            entry(received_ms=51.0, common={"custom_tags": {"sticky": "y"}}),
            entry(received_ms=101.0),
            entry("10.9.9.9"),
        ),
    )
    return source


def exposed(source: InProcessSource) -> bytes:
    registry = CollectorRegistry()
    registry.register(source.collector)
    return generate_latest(registry) + source.latency_histograms()


def scraped(source: InProcessSource) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposed(source).decode())
        for sample in family.samples
    }


def labels(**more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"service": "default/web", "endpoint": "10.0.0.1:8080", **more}.items()))


def test_what_was_received_is_exposed() -> None:
    found = scraped(filled_source())
    assert found["weir_endpoint_requests_total", labels(outcome="success")] == 8.0
    assert found["weir_endpoint_requests_total", labels(outcome="failure")] == 2.0
    assert found["weir_endpoint_in_flight_seconds_total", labels()] == 3.0
    assert found["weir_endpoint_utilisation_sum", labels()] == pytest.approx(4.0)
    assert found["weir_endpoint_utilisation_count", labels()] == 10.0
    assert found["weir_endpoint_latency_seconds_count", labels()] == 2.0
    assert found["weir_endpoint_latency_seconds_sum", labels()] == pytest.approx(0.150)
    assert found["weir_service_proxies", (("service", "default/web"), ("unit", "proxy"))] == 1.0
    nowhere = (("region", ""), ("service", "default/web"), ("zone", ""))
    assert found["weir_service_requests_total", nowhere] == 10.0
    assert found["weir_service_sticky_requests_total", (("service", "default/web"),)] == 1.0
    assert found["weir_telemetry_log_entries_total", ()] == 3.0
    assert found["weir_telemetry_unknown_log_entries_total", ()] == 1.0


def test_a_bucket_is_good_to_a_tenth() -> None:
    found = scraped(filled_source())
    running = sorted(
        (float(dict(where)["le"]), value)
        for (name, where), value in found.items()
        if name == "weir_endpoint_latency_seconds_bucket"
    )
    at = next(i for i, (_, count) in enumerate(running) if count >= 1.0)
    lower, upper = running[at - 1][0], running[at][0]
    assert lower < 0.050 <= upper
    middle = (lower + upper) / 2
    assert abs(middle - lower) / lower < 0.12
    assert abs(upper - middle) / upper < 0.10


def test_counters_never_fall_when_somebody_looks() -> None:
    source = filled_source()
    before = scraped(source)
    source.access_logs.on_access_logs(PROXY, logs(entry()))
    after = scraped(source)
    assert all(after[name] >= value for name, value in before.items())


def test_an_endpoint_without_a_number_has_no_latency_series() -> None:
    source = InProcessSource(Clock())
    source.declare([service()])
    assert not [name for name, _ in scraped(source) if name.startswith("weir_endpoint_latency")]


def test_a_strange_name_cannot_break_out_of_its_label() -> None:
    name = 'default/a"b\\c\nd'
    source = InProcessSource(Clock())
    source.declare([service(name)])
    source.access_logs.on_access_logs(PROXY, logs(entry(cluster=name)))
    names = {dict(where).get("service") for _, where in scraped(source)}
    assert names == {None, name}


def test_every_metric_is_described_in_the_document_and_no_other_is() -> None:
    registry = CollectorRegistry()
    source = filled_source()
    registry.register(source.collector)
    LoopMetrics(registry)
    ReplicaMetrics(registry)
    WebhookApp((), registry).close()
    CertificateWatch(registry, lambda: 0.0)
    registry.register(ServiceCollector(lambda: ()))
    TelemetryMetrics(registry)
    server = XdsServer(SnapshotCache())
    registry.register(XdsCollector(server))
    pool = Pool(
        Door("127.0.0.1:0"),
        2,
        SnapshotCache(),
        access_logs=source.access_logs,
        load_reports=source.load_reports,
        rate_limits=Limiter(MemoryCounters(), LimitMetrics(registry)),
        registry=registry,
    )
    own_metrics(registry)
    Cluster(Place(), registry, lambda: 0.0)
    registry.register(StagedCollector(StagedSink(SnapshotCache(), pool.clients)))
    text = (generate_latest(registry) + source.latency_histograms()).decode()
    found = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
        if not family.name.endswith("_created")  # the client adds them to its own counters
    }
    document = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    described = set(re.findall(r"^\| `(weir_[a-z_]+)`", document, re.MULTILINE))
    assert found == described
