"""Faults of a Prometheus server, over real HTTP."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import pytest

from controlplane.errors import MetricsUnavailableError
from controlplane.lab.envoy import free_port
from controlplane.model import NOWHERE, Endpoint, Service, ServiceName, Zone
from controlplane.observe.prometheus import PrometheusSettings, PrometheusSource, littles_law
from controlplane.observe.promql import ENVOY, WEIR, Dialect, literal, query, quoted
from tests.services.fault_server import FaultServer, fault_server
from tests.unit.observe.messages import Clock, service

NOW = 1_790_000_000.0


def series(
    field: str, value: float | str, endpoint: str = "10.0.0.1:8080", dialect: Dialect = WEIR
) -> Mapping[str, Any]:
    labels = {"weir": field, dialect.service: "default/web"}
    if endpoint:
        labels[dialect.endpoint] = endpoint
    return {"metric": labels, "value": [NOW, str(value)]}


def good(dialect: Dialect = WEIR) -> list[Mapping[str, Any]]:
    return [
        series(field, value, endpoint, dialect)
        for endpoint in ("10.0.0.1:8080", "10.0.0.2:8080")
        for field, value in (
            ("taken", NOW - 0.4),
            ("succeeded", 20.0),
            ("failed", 1.0),
            ("in_flight", 2.0),
            ("latency", 0.1),
            ("samples", 4.0),
        )
    ]


@contextmanager
def source_of(
    url: str, dialect: Dialect = WEIR, deadline_s: float = 5.0
) -> Iterator[PrometheusSource]:
    source = PrometheusSource(PrometheusSettings(url, deadline_s=deadline_s), Clock(), dialect)
    try:
        yield source
    finally:
        source.close()


@asynccontextmanager
async def asking(
    deadline_s: float = 5.0,
    dialect: Dialect = WEIR,
    result: list[Mapping[str, Any]] | None = None,
    fault: str = "",
) -> AsyncIterator[tuple[FaultServer, PrometheusSource]]:
    async with fault_server(result, fault) as server:
        with source_of(server.url, dialect, deadline_s) as source:
            yield server, source


async def test_a_good_answer_is_an_observation() -> None:
    proxies = [series("proxies", 3, ""), series("workers", 6, "")]
    async with asking(result=good() + proxies) as (_, source):
        look = (await source.observe([service()]))[service().name]
    assert look.at_s == pytest.approx(100.0 - 0.4)
    assert look.rate_rps.tolist() == [21.0, 21.0]
    assert look.in_flight.tolist() == [2.0, 2.0]
    assert look.latency_s.tolist() == [0.1, 0.1]
    assert look.latency_samples.tolist() == [20.0, 20.0]
    assert np.isnan(look.latency_p99_s).all()
    assert np.isnan(look.utilisation).all()
    assert (look.proxies, look.workers, look.coverage) == (3, 6, 1.0)


@pytest.mark.parametrize("lie", ["NaN", "+Inf", "-Inf"])
async def test_what_is_not_a_number_is_unknown(lie: str) -> None:
    result = [one for one in good() if one["metric"]["weir"] != "latency"]
    result.append(series("latency", lie))
    result.append(series("latency", 0.2, "10.0.0.2:8080"))
    async with asking(result=result) as (_, source):
        look = (await source.observe([service()]))[service().name]
    assert math.isnan(look.latency_s[0])
    assert look.latency_s[1] == 0.2
    assert look.succeeded[0] == 100.0


async def test_an_absent_endpoint_is_unknown_and_lowers_coverage() -> None:
    only_one = [one for one in good() if one["metric"]["endpoint"] == "10.0.0.1:8080"]
    async with asking(result=only_one) as (_, source):
        look = (await source.observe([service()]))[service().name]
    assert math.isnan(look.succeeded[1])
    assert math.isnan(look.age_s[1])
    assert look.coverage == 0.5


async def test_an_old_sample_makes_an_old_endpoint_and_not_an_old_look() -> None:
    result = [one for one in good() if one["metric"]["weir"] != "taken"]
    result += [series("taken", NOW - 1.0), series("taken", NOW - 41.0, "10.0.0.2:8080")]
    async with asking(result=result) as (_, source):
        look = (await source.observe([service()]))[service().name]
    assert look.at_s == pytest.approx(99.0)
    assert look.age_s.tolist() == pytest.approx([0.0, 40.0])


@pytest.mark.parametrize("result", [[], [series("proxies", 3, "")], [series("taken", "NaN")]])
async def test_a_service_without_numbers_is_absent(result: list[Mapping[str, Any]]) -> None:
    async with asking(result=result) as (_, source):
        assert await source.observe([service()]) == {}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("status", "status"),
        ("truncated", "body"),
        ("html", "body"),
        ("half json", "body"),
        ("shape", "body"),
        ("silent", "timeout"),
        ("trickle", "timeout"),
    ],
)
async def test_a_fault_is_named_and_no_number_is_invented(fault: str, kind: str) -> None:
    async with asking(deadline_s=0.5, result=good(), fault=fault) as (_, source):
        with pytest.raises(MetricsUnavailableError) as raised:
            await source.observe([service()])
    assert raised.value.kind == kind


async def test_a_server_that_is_down_is_named_so() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with source_of(nobody) as source, pytest.raises(MetricsUnavailableError) as raised:
        await source.observe([service()])
    assert raised.value.kind == "down"


async def test_looks_do_not_queue_behind_one_that_hangs() -> None:
    async with asking(deadline_s=0.4, fault="silent") as (server, source):
        kinds = []
        for _ in range(3):
            with pytest.raises(MetricsUnavailableError) as raised:
                await source.observe([service()])
            kinds.append(raised.value.kind)
        assert set(kinds) <= {"timeout", "busy"}
        assert server.asked <= 3


async def test_it_recovers_and_keeps_its_connection() -> None:
    async with asking(result=good(), fault="status") as (server, source):
        with pytest.raises(MetricsUnavailableError):
            await source.observe([service()])
        server.fault = ""
        for _ in range(5):
            assert await source.observe([service()])
        assert server.asked == 6
        assert server.connections == 1


async def test_nothing_asked_is_nothing_sent() -> None:
    async with asking() as (server, source):
        assert await source.observe([]) == {}
        assert server.asked == 0


async def test_a_proxy_whose_series_stopped_lowers_coverage() -> None:
    result: list[Mapping[str, Any]] = [*good(ENVOY)]
    for endpoint in ("10.0.0.1:8080", "10.0.0.2:8080"):
        result += [
            series("reporting", 3, endpoint, ENVOY),
            series("expected", 4, endpoint, ENVOY),
            series("looks", 15, endpoint, ENVOY),
        ]
    async with asking(result=result, dialect=ENVOY) as (_, source):
        look = (await source.observe([service()]))[service().name]
    assert look.coverage == pytest.approx(0.75)
    assert look.proxies == 3
    assert look.latency_s.tolist() == pytest.approx([0.1, 0.1])  # 2 in flight, 20 a second
    assert look.latency_samples.tolist() == [10.0, 10.0]  # 5 scrapes caught 2 each


def test_littles_law_knows_nothing_where_nothing_was_caught_in_flight() -> None:
    latency_s, samples = littles_law(
        np.array([0.0, 2.0, 2.0, np.nan]),
        np.array([100.0, 0.0, 100.0, np.nan]),
        np.array([5.0, 5.0, 5.0, np.nan]),
        window_s=5.0,
    )
    assert np.isnan(latency_s).tolist() == [True, True, False, True]
    assert latency_s[2] == pytest.approx(0.1)
    assert samples[:3].tolist() == [0.0, 0.0, 10.0]
    assert math.isnan(samples[3])


def test_little_in_flight_is_few_samples_however_many_proxies_were_scraped() -> None:
    """Twelve proxies scraped five times find a tenth of a request in flight: half a sample."""
    _, samples = littles_law(np.array([0.1]), np.array([100.0]), np.array([60 / 12]), window_s=5.0)
    assert samples[0] == pytest.approx(0.5)


def test_fast_failures_do_not_make_an_endpoint_look_fast() -> None:
    """Half a request in flight, one success and 99 failures a second: at most 0.5 s, never 5 ms."""
    latency_s, _ = littles_law(np.array([0.5]), np.array([5.0]), np.array([5.0]), window_s=5.0)
    assert latency_s[0] == pytest.approx(0.5)


def test_label_values_are_escaped() -> None:
    assert quoted('x"} or vector(1) #\n') == 'x\\"} or vector(1) #\\n'
    assert literal("a.b|c") == "a\\.b\\|c"
    text = query(ENVOY, ['a"b', "c.d"], 5.0, {"job": 'en"voy'})
    assert 'job="en\\"voy"' in text
    assert 'envoy_cluster_name=~"a\\"b|c\\\\.d"' in text
    assert "$" not in text


def test_very_many_services_are_not_named_one_by_one() -> None:
    assert "=~" not in query(WEIR, [f"default/s{i}" for i in range(1000)], 5.0, {})


async def test_names_of_services_are_matched_exactly_or_bare_where_unique() -> None:
    bare: list[Mapping[str, Any]] = [
        {"metric": {**one["metric"], "service": "web"}, "value": one["value"]} for one in good()
    ]
    async with asking(result=bare) as (_, source):
        assert set(await source.observe([service()])) == {"default/web"}
        other = Service(ServiceName("prod/web"), (Endpoint("10.0.0.1", 8080),))
        assert await source.observe([service(), other]) == {}


async def test_places_and_sessions_are_of_the_whole_service() -> None:
    def placed(region: str, zone: str, value: float) -> Mapping[str, Any]:
        labels = {"weir": "by_place", "service": "default/web", "region": region, "zone": zone}
        return {"metric": labels, "value": [NOW, str(value)]}

    more = [placed("eu", "a", 8.0), placed("", "", 2.0), series("sticky", 2.0, "")]
    async with asking(result=[*good(), *more]) as (_, source):
        look = (await source.observe([service()]))[ServiceName("default/web")]
    assert look.by_place == {Zone("eu", "a"): 40.0, NOWHERE: 10.0}
    assert look.sticky_share == 0.25  # of 2 x 4 samples a second
    async with asking(result=good()) as (_, source):
        look = (await source.observe([service()]))[ServiceName("default/web")]
    assert (look.by_place, look.sticky_share) == ({}, 0.0)
