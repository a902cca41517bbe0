from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.model import NOWHERE, Endpoint, Service, ServiceName, Zone
from controlplane.observe.in_process import MARKS, InProcessSource
from controlplane.observe.proxies import Proxies
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
from tests.unit.observe.test_access_logs import look_at, make_source


async def test_endpoints_that_stay_keep_their_numbers_when_others_come_and_go() -> None:
    source, clock = make_source(service(endpoints=3))
    busy = report(
        cluster_stats(
            endpoint_stats("10.0.0.1", succeeded=1),
            endpoint_stats("10.0.0.2", succeeded=2),
            endpoint_stats("10.0.0.3", succeeded=3),
        )
    )
    source.load_reports.on_load_report(PROXY, busy, first=False)
    source.access_logs.on_access_logs(PROXY, logs(entry("10.0.0.3", received_ms=31.0)))
    changed = service(endpoints=3, first=2)  # .1 goes, .4 comes
    source.declare([changed])
    clock.now_s += 1
    look = await look_at(source, changed)
    assert look.endpoints == ("10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.4:8080")
    assert look.succeeded.tolist() == [2.0, 3.0, 0.0]
    assert look.latency_s[1] == pytest.approx(0.030)
    assert look.latency_p99_s[1] == pytest.approx(0.030, rel=0.011)


async def test_a_look_may_be_asked_for_in_another_order() -> None:
    source, _ = make_source(service(endpoints=2))
    busy = report(cluster_stats(endpoint_stats("10.0.0.1", succeeded=1)))
    source.load_reports.on_load_report(PROXY, busy, first=False)
    declared = service(endpoints=2)
    turned = Service(declared.name, declared.endpoints[::-1])
    look = await look_at(source, turned)
    assert look.endpoints[1] == "10.0.0.1:8080"
    assert look.succeeded.tolist() == [0.0, 1.0]


async def test_ipv6_endpoints_are_found_however_they_were_declared() -> None:
    six = Service(ServiceName("default/web"), (Endpoint("2001:db8:0:0::1", 8080),))
    source, _ = make_source(six)
    source.access_logs.on_access_logs(PROXY, logs(entry("2001:db8::1")))
    assert (await look_at(source, six)).succeeded.tolist() == [1.0]


async def test_only_the_services_asked_for_are_looked_at() -> None:
    web, api = service(), service("default/api", first=11)
    source, _ = make_source(web, api)
    source.access_logs.on_access_logs(
        PROXY, logs(entry(), entry("10.0.0.11", cluster="default/api"))
    )
    assert set(await source.observe([web])) == {web.name}
    assert (await look_at(source, api)).succeeded[0] == 1.0  # nothing was lost meanwhile


async def test_windows_add_up_to_all_that_was_sent() -> None:
    source, clock = make_source()
    rng = np.random.default_rng(5)
    total = 0
    seen = 0.0
    for _ in range(5 * MARKS):
        clock.now_s += 1
        count = int(rng.integers(0, 50))
        total += count
        busy = report(cluster_stats(endpoint_stats(succeeded=count)))
        source.load_reports.on_load_report(PROXY, busy, first=False)
        seen += float((await look_at(source)).succeeded[0])
    assert seen == total


async def test_quiet_time_before_a_first_request_is_not_in_its_window() -> None:
    source, clock = make_source()
    source.access_logs.on_access_logs(PROXY, logs(entry()))
    await look_at(source)
    for _ in range(20):
        clock.now_s += 1
        await look_at(source)
    clock.now_s += 1
    source.access_logs.on_access_logs(PROXY, logs(*[entry()] * 30))
    look = await look_at(source)
    assert look.window_s == pytest.approx(1.0)
    assert look.rate_rps[0] == pytest.approx(30.0)


async def test_numbers_of_a_long_time_without_looks_are_not_a_window() -> None:
    source, clock = make_source()
    for _ in range(300):  # this replica was not the one that decides
        clock.now_s += 1
        busy = report(cluster_stats(endpoint_stats(succeeded=10)))
        source.load_reports.on_load_report(PROXY, busy, first=False)
    assert await source.observe([service()]) == {}
    assert await source.observe([service()]) == {}
    clock.now_s += 1
    source.load_reports.on_load_report(PROXY, busy, first=False)
    look = await look_at(source)
    assert look.window_s == pytest.approx(1.0)
    assert look.succeeded[0] == 10.0


async def test_the_rates_of_the_services_are_those_of_their_last_looks() -> None:
    source, _ = make_source(service(), service("default/api", first=11))
    assert list(source.rates_rps()) == [0.0, 0.0]
    busy = cluster_stats(endpoint_stats(succeeded=70, failed=10))
    source.load_reports.on_load_report(PROXY, report(busy), first=False)
    await look_at(source)
    assert list(source.rates_rps()) == pytest.approx([80.0, 0.0])


async def test_a_service_taken_out_is_forgotten() -> None:
    source, _ = make_source()
    source.access_logs.on_access_logs(PROXY, logs(entry()))
    source.declare([])
    assert await source.observe([service()]) == {}


def test_the_table_of_proxies_is_bounded() -> None:
    proxies = Proxies(limit=10)
    for number in range(100):
        proxies.hear(proxy(number), at_s=float(number))
    assert len(proxies) == 10
    proxies.hear(proxy(99), at_s=10_000.0)
    assert len(proxies) == 1


async def test_members_that_fell_silent_long_ago_are_forgotten() -> None:
    clock = Clock()
    source = InProcessSource(clock)
    source.declare([service()])
    for number in range(50):
        source.access_logs.on_access_logs(proxy(number), logs(entry()))
    await look_at(source)
    clock.now_s += 1_000
    await look_at(source)
    source.access_logs.on_access_logs(proxy(0), logs(entry()))
    assert (await look_at(source)).proxies == 1
    totals = source.catalogue.get(service().name)
    assert totals is not None
    assert len(totals.members) == 1


async def test_requests_are_counted_by_the_place_of_the_envoys() -> None:
    eu, us = Zone("eu", "a"), Zone("us", "a")
    web = Service(ServiceName("default/web"), (Endpoint("10.0.0.1", 8080, eu),))
    source, clock = make_source(web)
    proxies = [
        replace(proxy(i), where=where) for i, where in enumerate((eu, Zone("eu", "z"), us, eu))
    ]
    for i, one in enumerate(proxies):
        told = report(cluster_stats(endpoint_stats("10.0.0.1", succeeded=10 + i, failed=1)))
        source.load_reports.on_load_report(one, told, first=False)
    look = await look_at(source, web)
    assert look.by_place == {eu: 25.0, Zone("eu"): 12.0, NOWHERE: 13.0}
    clock.now_s += 1
    again = report(cluster_stats(endpoint_stats("10.0.0.1", succeeded=5)))
    for one in proxies:
        source.load_reports.on_load_report(one, again, first=False)
    clock.now_s += 1
    assert (await look_at(source, web)).by_place == {eu: 10.0, Zone("eu"): 5.0, NOWHERE: 5.0}
    moved = Service(web.name, (Endpoint("10.0.0.1", 8080, us),))
    source.declare([moved])
    source.load_reports.on_load_report(proxies[2], again, first=False)
    assert (await look_at(source, moved)).by_place.keys() == {NOWHERE, us}


async def test_latencies_are_told_apart_by_the_place_of_the_envoys() -> None:
    eu, us = Zone("eu", "a"), Zone("us", "a")
    ends = (Endpoint("10.0.0.1", 8080, eu), Endpoint("10.0.0.2", 8080, us))
    web = Service(ServiceName("default/web"), ends)
    source, clock = make_source(web)
    near, far, lost = (
        replace(proxy(i), where=where) for i, where in enumerate((eu, us, Zone("asia")))
    )

    def send() -> None:
        for one, received_ms in ((near, 11.0), (far, 51.0), (near, 21.0), (lost, 91.0)):
            told = logs(entry("10.0.0.1", received_ms=received_ms))
            source.access_logs.on_access_logs(one, told)
        source.access_logs.on_access_logs(far, logs(entry("10.0.0.2", received_ms=31.0)))
        clock.now_s += 1

    for _ in range(MARKS + 1):  # each look is of its own window
        send()
        found = (await look_at(source, web)).latency_by_place
        assert found.keys() == {eu, us, NOWHERE}
        assert found[eu] == pytest.approx(np.array([[0.015, np.nan], [2.0, 0.0]]), nan_ok=True)
        assert found[us] == pytest.approx(np.array([[0.05, 0.03], [1.0, 1.0]]))
        assert found[NOWHERE][:, 0] == pytest.approx([0.09, 1.0])

    turned = Service(web.name, (ends[1], Endpoint("10.0.0.3", 8080, us)))
    send()
    source.declare([turned])
    found = (await look_at(source, turned)).latency_by_place
    assert found[us][:, 0] == pytest.approx([0.03, 1.0])
    assert found[us][1, 1] == 0.0


async def test_latencies_of_one_zone_are_not_told_apart() -> None:
    eu = Zone("eu", "a")
    web = Service(ServiceName("default/web"), (Endpoint("10.0.0.1", 8080, eu),))
    source, _ = make_source(web)
    source.access_logs.on_access_logs(replace(PROXY, where=eu), logs(entry("10.0.0.1")))
    look = await look_at(source, web)
    assert look.latency_samples.tolist() == [1.0]
    assert look.latency_by_place == {}


async def test_what_sessions_led_is_a_part_of_what_has_a_latency() -> None:
    source, clock = make_source(service())
    led = {"custom_tags": {"sticky": "y"}}
    entries = [entry(common=led), entry(), entry("10.0.0.2"), entry("10.0.0.2", common=led)]
    source.access_logs.on_access_logs(
        PROXY, logs(*entries, entry("10.0.0.2", common=led, code=503))
    )
    assert (await look_at(source, service())).sticky_share == 0.5
    clock.now_s += 1
    source.access_logs.on_access_logs(PROXY, logs(*[entry(common=led)] * 4))
    clock.now_s += 1
    assert (await look_at(source, service())).sticky_share == 1.0
    await source.observe([service()])
    clock.now_s += 1
    source.declare([service(endpoints=1)])  # what the other had is not in the sum any more
    source.access_logs.on_access_logs(PROXY, logs(entry()))
    assert (await look_at(source, service(endpoints=1))).sticky_share <= 1.0
