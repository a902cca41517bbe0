from __future__ import annotations

import numpy as np
import pytest

from controlplane.errors import TelemetryError
from controlplane.model import Proxy, ProxyId
from controlplane.observe.in_process import InProcessSource
from tests.unit.observe.messages import (
    PROXY,
    Clock,
    cluster_stats,
    endpoint_stats,
    entry,
    logs,
    proxy,
    report,
    service,
)
from tests.unit.observe.test_access_logs import look_at


def make_source(**options: object) -> tuple[InProcessSource, Clock]:
    clock = Clock()
    source = InProcessSource(clock, **options)  # type: ignore[arg-type]
    source.declare([service()])
    return source, clock


async def test_counts_and_requests_in_flight_are_summed_over_the_proxies() -> None:
    source, clock = make_source()
    for number in (1, 2):
        source.load_reports.on_load_report(proxy(number, workers=4), report(), first=True)
    clock.now_s += 1
    for number in (1, 2):
        stats = endpoint_stats(succeeded=10 * number, failed=number, in_progress=3)
        source.load_reports.on_load_report(
            proxy(number, workers=4), report(cluster_stats(stats)), first=False
        )
    look = await look_at(source)
    assert look.succeeded.tolist() == [30.0, 0.0]
    assert look.failed.tolist() == [3.0, 0.0]
    assert look.in_flight.tolist() == [6.0, 0.0]
    assert look.window_s == pytest.approx(1.0)
    assert (look.proxies, look.workers, look.coverage) == (2, 8, 1.0)
    assert look.age_s.tolist() == [0.0, 0.0]
    assert np.isnan(look.latency_s).all()


async def test_a_late_report_changes_no_rate() -> None:
    source, clock = make_source()
    busy = report(cluster_stats(endpoint_stats(succeeded=100, in_progress=5)))
    rates = []
    for tick in range(6):
        clock.now_s += 1
        for number in (1, 2, 3, 4):
            if (tick, number) == (3, 4):
                continue  # it comes a moment after the look
            twice = 2 if (tick, number) == (4, 4) else 1
            for _ in range(twice):
                source.load_reports.on_load_report(proxy(number), busy, first=False)
        look = await look_at(source)
        rates.append((look.rate_rps[0], look.in_flight[0]))
    assert np.array(rates) == pytest.approx(np.array([(400.0, 20.0)] * 6))


async def test_a_look_without_news_is_the_look_before() -> None:
    source, clock = make_source()
    busy = report(cluster_stats(endpoint_stats(succeeded=7)))
    source.load_reports.on_load_report(PROXY, busy, first=False)
    before = await look_at(source)
    clock.now_s += 5
    again = await look_at(source)
    assert again is before
    assert again.at_s == 100.0


async def test_a_window_reaches_back_over_one_report_of_every_proxy() -> None:
    source, clock = make_source()
    busy = report(cluster_stats(endpoint_stats(succeeded=10)))
    for half in range(8):  # looks twice a second, each of two proxies reports once a second
        clock.now_s += 0.5
        source.load_reports.on_load_report(proxy(half % 2), busy, first=False)
        look = await look_at(source)
    assert look.window_s == pytest.approx(1.0)
    assert look.rate_rps[0] == pytest.approx(20.0)


async def test_an_idle_service_is_known_to_be_idle() -> None:
    source, _ = make_source()
    source.load_reports.on_load_report(PROXY, report(cluster_stats()), first=False)
    look = await look_at(source)
    assert look.succeeded.tolist() == [0.0, 0.0]
    assert look.in_flight.tolist() == [0.0, 0.0]
    assert np.isnan(look.error_ratio).all()


async def test_a_vanished_proxy_lowers_coverage_and_then_ages_out() -> None:
    source, clock = make_source()
    busy = report(cluster_stats(endpoint_stats(succeeded=10, in_progress=2)))
    source.load_reports.on_load_report(proxy(1), busy, first=False)
    source.load_reports.on_load_report(proxy(2), busy, first=False)
    assert (await look_at(source)).coverage == 1.0
    coverage = {}
    for _ in range(40):
        clock.now_s += 1
        source.load_reports.on_load_report(proxy(1), busy, first=False)
        look = await look_at(source)
        coverage[int(clock.now_s) - 100] = look.coverage
    assert coverage[1] == 1.0
    assert coverage[5] == 0.5
    assert coverage[40] == 1.0
    assert look.proxies == 1
    assert look.in_flight[0] == pytest.approx(2.0)


async def test_latency_comes_from_the_logs_beside_the_reports() -> None:
    source, clock = make_source()
    source.load_reports.on_load_report(PROXY, report(), first=True)
    clock.now_s += 1
    source.access_logs.on_access_logs(PROXY, logs(entry(), entry(), entry(code=503)))
    busy = report(cluster_stats(endpoint_stats(succeeded=20, failed=10)))
    source.load_reports.on_load_report(PROXY, busy, first=False)
    look = await look_at(source)
    assert look.succeeded[0] == 20.0
    assert look.failed[0] == 10.0
    assert look.latency_samples[0] == 2.0
    assert look.latency_s[0] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        ({"cpu_utilization": (4, 1.2)}, 0.3),
        ({"cpu_utilization": (4, 1.2), "application_utilization": (4, 2.0)}, 0.5),
        ({"cpu_utilization": (4, 1.2), "named_metrics.queue": (4, 3.2)}, 0.8),
        ({"named_metrics.queue": (4, 3.2), "named_metrics.disk": (4, 3.6)}, 0.9),
        ({"cpu_utilization": (4, 1.2), "named_metrics.other": (4, 3.2)}, 0.3),
        ({"cpu_utilization": (4, 1.2), "application_utilization": (4, 0.0)}, 0.3),
    ],
)
async def test_utilisation_is_taken_in_the_order_of_cswrr(
    metrics: dict[str, tuple[int, float]], wanted: float
) -> None:
    source, _ = make_source(custom_metrics=("queue", "disk"))
    stats = endpoint_stats(succeeded=4, metrics=metrics)
    source.load_reports.on_load_report(PROXY, report(cluster_stats(stats)), first=False)
    look = await look_at(source)
    assert look.utilisation[0] == pytest.approx(wanted)
    assert np.isnan(look.utilisation[1])


@pytest.mark.parametrize("lie", [float("nan"), float("inf"), -5.0, 1e12])
async def test_an_impossible_utilisation_is_unknown(lie: float) -> None:
    source, _ = make_source()
    stats = endpoint_stats(succeeded=4, metrics={"cpu_utilization": (4, lie)})
    source.load_reports.on_load_report(PROXY, report(cluster_stats(stats)), first=False)
    assert np.isnan((await look_at(source)).utilisation).all()


async def test_a_cluster_of_another_name_is_known_by_its_service_name() -> None:
    source, clock = make_source()
    source.load_reports.on_load_report(PROXY, report(), first=True)
    own = cluster_stats(
        endpoint_stats(succeeded=5), name="outbound|8080||shop", service_name="default/web"
    )
    source.load_reports.on_load_report(PROXY, report(own), first=False)
    clock.now_s += 1
    source.access_logs.on_access_logs(PROXY, logs(entry(cluster="outbound|8080||shop")))
    look = await look_at(source)
    assert look.succeeded[0] == 5.0
    assert look.latency_samples[0] == 1.0


async def test_what_is_not_declared_is_counted_and_ignored() -> None:
    source, _ = make_source()
    message = report(
        cluster_stats(endpoint_stats("10.9.9.9", succeeded=5)), cluster_stats(name="x")
    )
    source.load_reports.on_load_report(PROXY, message, first=False)
    assert source.receipts.unknown_endpoints == 1
    assert source.receipts.unknown_clusters == 1
    assert (await look_at(source)).succeeded.sum() == 0.0


async def test_an_absurd_interval_is_not_believed() -> None:
    source, _ = make_source()
    stats = cluster_stats(endpoint_stats(succeeded=5), covered_s=86_400.0)
    source.load_reports.on_load_report(PROXY, report(stats), first=False)
    assert (await look_at(source)).window_s == pytest.approx(1.0)


async def test_impossible_counts_do_not_spoil_the_sums() -> None:
    source, _ = make_source()
    lie = endpoint_stats(succeeded=2**63)
    source.load_reports.on_load_report(PROXY, report(cluster_stats(lie)), first=False)
    truth = endpoint_stats(succeeded=5)
    source.load_reports.on_load_report(PROXY, report(cluster_stats(truth)), first=False)
    assert (await look_at(source)).succeeded[0] == 5.0
    assert source.receipts.impossible_counts == 1


def test_garbage_is_counted_and_refused() -> None:
    source, _ = make_source()
    with pytest.raises(TelemetryError, match="LoadStatsRequest"):
        source.load_reports.on_load_report(PROXY, b"\x0a\xff", first=True)
    assert source.receipts.garbage == 1


async def test_envoys_of_one_id_in_two_fleets_are_two() -> None:
    source, clock = make_source()
    one, other = Proxy(ProxyId("envoy-1"), "a/edge"), Proxy(ProxyId("envoy-1"), "b/edge")
    for each in (one, other):
        source.load_reports.on_load_report(each, report(), first=True)
    clock.now_s += 1.0
    for each in (one, other):
        stats = cluster_stats(endpoint_stats(succeeded=100, in_progress=10))
        source.load_reports.on_load_report(each, report(stats), first=False)
    look = (await source.observe([service()]))[service().name]
    assert look.proxies == 2
    assert look.in_flight[0] == pytest.approx(20.0)


def test_a_name_that_is_too_long_is_not_remembered() -> None:
    source, _ = make_source()
    for name in ("n" * 257, "short"):
        stats = cluster_stats(endpoint_stats(succeeded=1), name=name, service_name="default/web")
        source.load_reports.on_load_report(PROXY, report(stats), first=False)
    (heard,) = source.proxies
    assert heard.aliases == {"short": "default/web"}
