from __future__ import annotations

import numpy as np
import pytest

from controlplane.errors import TelemetryError
from controlplane.model import Observation, Service
from controlplane.observe.in_process import InProcessSource
from tests.unit.observe.messages import PROXY, Clock, entry, logs, report, service


def make_source(*services: Service) -> tuple[InProcessSource, Clock]:
    clock = Clock()
    source = InProcessSource(clock)
    source.declare(services or (service(),))
    return source, clock


async def look_at(source: InProcessSource, one: Service | None = None) -> Observation:
    one = one or service()
    return (await source.observe([one]))[one.name]


async def test_latency_is_from_the_last_byte_sent_upstream_to_the_last_received() -> None:
    source, clock = make_source()
    source.access_logs.on_access_logs(PROXY, logs(entry(sent_ms=3.0, received_ms=53.0)))
    clock.now_s += 1
    look = await look_at(source)
    assert look.latency_s[0] == pytest.approx(0.050)
    assert look.latency_p99_s[0] == pytest.approx(0.050, rel=0.011)
    assert look.latency_samples.tolist() == [1.0, 0.0]
    assert np.isnan(look.latency_s[1])
    assert look.succeeded.tolist() == [1.0, 0.0]


async def test_an_early_answer_counts_from_the_first_byte_sent() -> None:
    source, _ = make_source()
    early = entry(first_sent_ms=1.0, sent_ms=90.0, received_ms=41.0)
    source.access_logs.on_access_logs(PROXY, logs(early))
    assert (await look_at(source)).latency_s[0] == pytest.approx(0.040)


async def test_a_success_without_durations_has_no_latency() -> None:
    source, _ = make_source()
    bare = entry(
        common={"time_to_first_upstream_tx_byte": None, "time_to_last_upstream_tx_byte": None}
    )
    source.access_logs.on_access_logs(PROXY, logs(bare))
    look = await look_at(source)
    assert look.succeeded[0] == 1.0
    assert np.isnan(look.latency_s[0])
    assert source.receipts.untimed_entries == 1


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        (500, {}),
        (503, {}),
        (504, {"upstream_request_timeout": True}),
        (200, {"upstream_remote_reset": True}),
        (0, {"upstream_connection_termination": True}),
        (0, {"duration_timeout": True}),
        (0, {}),
    ],
)
async def test_errors_resets_and_timeouts_are_failures_and_no_latency(
    code: int, flags: dict[str, bool]
) -> None:
    source, _ = make_source()
    source.access_logs.on_access_logs(PROXY, logs(entry(code=code, flags=flags)))
    look = await look_at(source)
    assert look.failed[0] == 1.0
    assert look.succeeded[0] == 0.0
    assert look.latency_samples[0] == 0.0


@pytest.mark.parametrize("code", [404, 429])
async def test_a_client_error_is_a_success_of_the_endpoint(code: int) -> None:
    source, _ = make_source()
    source.access_logs.on_access_logs(PROXY, logs(entry(code=code)))
    assert (await look_at(source)).succeeded[0] == 1.0


async def test_an_absurd_duration_is_no_latency() -> None:
    source, _ = make_source()
    source.access_logs.on_access_logs(PROXY, logs(entry(received_ms=1e9), entry()))
    look = await look_at(source)
    assert look.latency_s[0] == pytest.approx(0.05)
    assert look.succeeded[0] == 2.0


async def test_a_request_that_its_client_left_is_neither() -> None:
    source, _ = make_source()
    left = entry(code=0, flags={"downstream_connection_termination": True})
    source.access_logs.on_access_logs(PROXY, logs(left))
    look = await look_at(source)
    assert look.succeeded[0] == look.failed[0] == look.latency_samples[0] == 0.0
    assert source.receipts.aborted_entries == 1


async def test_counts_of_a_sampled_log_are_scaled_up_and_samples_are_not() -> None:
    source, _ = make_source()
    source.access_logs.sampled(10.0)
    source.access_logs.on_access_logs(PROXY, logs(entry(), entry(), entry(code=500)))
    look = await look_at(source)
    assert look.succeeded[0] == 20.0
    assert look.failed[0] == 10.0
    assert look.latency_samples[0] == 2.0


async def test_a_proxy_with_load_reports_is_not_counted_by_its_logs() -> None:
    source, clock = make_source()
    source.load_reports.on_load_report(PROXY, report(), first=True)
    source.access_logs.on_access_logs(PROXY, logs(entry()))
    look = await look_at(source)
    assert np.isnan(look.succeeded).all()
    assert look.latency_samples[0] == 1.0
    clock.now_s += 60  # its load reports are gone
    source.access_logs.on_access_logs(PROXY, logs(entry()))
    assert (await look_at(source)).succeeded[0] == 1.0


async def test_a_bare_name_is_found_where_it_is_unique() -> None:
    web, other = service(), service("other/api", first=11)
    source, _ = make_source(web, other)
    source.access_logs.on_access_logs(PROXY, logs(entry(cluster="web")))
    assert (await look_at(source, web)).succeeded[0] == 1.0
    source.declare([web, other, service("prod/web", first=21)])
    source.access_logs.on_access_logs(PROXY, logs(entry(cluster="web")))
    assert source.receipts.unknown_entries == 1


async def test_a_cluster_of_several_is_the_service_that_has_the_endpoint() -> None:
    web, spare = service(), service("default/spare", first=11)
    source, _ = make_source(web, spare)
    name = "default/web+default/spare"
    entries = (entry(cluster=name), entry("10.0.0.11", cluster=name), entry("10.9.9.9"))
    source.access_logs.on_access_logs(PROXY, logs(*entries))
    assert (await look_at(source, web)).succeeded.tolist() == [1.0, 0.0]
    assert (await look_at(source, spare)).succeeded.tolist() == [1.0, 0.0]
    assert source.receipts.unknown_entries == 1


async def test_the_cluster_of_a_class_is_its_service() -> None:
    source, _ = make_source()
    entries = (entry(), entry(cluster="default/web#default/plans/gold"))
    source.access_logs.on_access_logs(PROXY, logs(*entries))
    assert (await look_at(source)).succeeded.tolist() == [2.0, 0.0]


async def test_strange_clusters_and_endpoints_are_counted_and_ignored() -> None:
    source, _ = make_source()
    stranger = logs(entry(cluster="default/other"), entry("10.9.9.9"))
    source.access_logs.on_access_logs(PROXY, stranger)
    assert source.receipts.unknown_entries == 2
    assert (await look_at(source)).succeeded.sum() == 0.0


def test_garbage_is_counted_and_refused() -> None:
    source, _ = make_source()
    with pytest.raises(TelemetryError, match="StreamAccessLogsMessage"):
        source.access_logs.on_access_logs(PROXY, b"\xff\xff\xff")
    assert source.receipts.garbage == 1


async def test_nothing_heard_is_nothing_observed() -> None:
    source, _ = make_source()
    assert await source.observe([service()]) == {}


@pytest.mark.parametrize("percent", [0.0, -1.0, 101.0, float("nan")])
def test_an_impossible_percentage_is_refused(percent: float) -> None:
    source, _ = make_source()
    with pytest.raises(ValueError, match="wanted more than 0"):
        source.access_logs.sampled(percent)


async def test_long_lists_are_folded_without_a_look() -> None:
    source, _ = make_source()
    totals = source.catalogue.get(service().name)
    assert totals is not None
    batch = logs(*[entry(received_ms=11.0 + i % 7) for i in range(1000)])
    for _ in range(40):
        source.access_logs.on_access_logs(PROXY, batch)
    assert len(totals.latencies_s) < 40_000
    look = await look_at(source)
    assert look.latency_samples[0] == 40_000.0
