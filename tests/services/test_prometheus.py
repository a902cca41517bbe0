"""The real Prometheus: scraping a real Envoy, and scraping what we expose ourselves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from controlplane.errors import MetricsUnavailableError, StartupError
from controlplane.lab.envoy import free_port, run_envoy
from controlplane.lab.prometheus import Scrape, prometheus_binary, run_prometheus
from controlplane.model import NOWHERE, Endpoint, Observation, Service, ServiceName
from controlplane.observe.in_process import InProcessSource
from controlplane.observe.prometheus import PrometheusSettings, PrometheusSource
from controlplane.observe.promql import ENVOY, WEIR
from tests.envoy.backends import Backend, get, running
from tests.envoy.test_telemetry import WEB, bootstrap
from tests.unit.observe.messages import (
    cluster_stats,
    endpoint_stats,
    entry,
    logs,
    proxy,
    report,
    service,
)

pytestmark = pytest.mark.prometheus

SCRAPE_S = 0.5


@contextlib.contextmanager
def asking(url: str, **options: object) -> Iterator[PrometheusSource]:
    settings = PrometheusSettings(url, window_s=4.0, deadline_s=5.0)
    source = PrometheusSource(settings, time.monotonic, **options)  # type: ignore[arg-type]
    try:
        yield source
    finally:
        source.close()


async def until(
    source: PrometheusSource,
    one: Service,
    enough: Callable[[Observation], bool],
    deadline_s: float = 30.0,
) -> Observation:
    """Look again and again until this holds."""
    end_s = time.monotonic() + deadline_s
    last = None
    while time.monotonic() < end_s:
        last = (await source.observe([one])).get(one.name)
        if last is not None and enough(last):
            return last
        await asyncio.sleep(0.25)
    raise AssertionError(f"not seen in {deadline_s} s; last {last}")


@pytest.mark.envoy
async def test_a_fleet_with_per_endpoint_stats_is_read_from_prometheus_alone(
    tmp_path: Path,
) -> None:
    slow, fast, failing = Backend(0.2), Backend(0.04), Backend(0.0, status=503)
    async with running(slow, fast, failing):
        ports = [slow.port, fast.port, failing.port]
        listen = free_port()
        boot = bootstrap(listen, free_port(), ports, reports=False)
        boot["static_resources"]["clusters"][0]["track_cluster_stats"] = {
            "per_endpoint_stats": True
        }
        admin = f"127.0.0.1:{boot['admin']['address']['socket_address']['port_value']}"
        scrape = Scrape("envoy", (admin,), "/stats/prometheus", SCRAPE_S)
        one = Service(WEB, tuple(Endpoint("127.0.0.1", port) for port in ports))
        async with run_envoy(boot, tmp_path), run_prometheus(tmp_path, scrape) as prometheus:
            with asking(prometheus.url, dialect=ENVOY) as source:
                clients = [asyncio.create_task(get(listen, 1000, 60.0)) for _ in range(8)]
                look = await until(
                    source,
                    one,
                    lambda look: bool(
                        np.isfinite(look.latency_s[:2]).all()
                        and (look.latency_samples[:2] >= (40, 6)).all()  # a window that is full
                        and look.failed[2] > 0
                    ),
                )
                for client in clients:
                    client.cancel()
                await asyncio.gather(*clients, return_exceptions=True)
    assert look.latency_s[0] > look.latency_s[1]
    assert look.latency_s[0] == pytest.approx(0.2, rel=0.6)
    assert look.succeeded[2] == 0.0
    assert np.isnan(look.latency_s[2])
    assert look.in_flight[:2].sum() <= 8.5
    assert look.coverage == 1.0
    assert look.proxies == 1
    assert np.isnan(look.utilisation).all()


class Replica:
    """One replica of ours as Prometheus sees it: its /metrics on a port of its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.fed_s = 0.0
        self.port = 0
        self.restart()

    def restart(self) -> None:
        """All counters start at 0 again."""
        self.source = InProcessSource(time.monotonic)
        self.source.declare([service()])
        self.registry = CollectorRegistry()
        self.registry.register(self.source.collector)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                body = generate_latest(self.registry) + self.source.latency_histograms()
                head = f"HTTP/1.1 200 OK\r\ncontent-type: {CONTENT_TYPE_LATEST}\r\n"
                writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    async def feed(self) -> None:
        """For each second reported: 100 successes, 10 failures, 4 in flight, 20 log entries, of
        which sessions led half."""
        stats = endpoint_stats(
            succeeded=10, failed=1, in_progress=4, metrics={"cpu_utilization": (10, 4.0)}
        )
        who, message = proxy(self.number, workers=2), report(cluster_stats(stats, covered_s=0.1))
        entries = logs(entry(common={"custom_tags": {"sticky": "y"}}), entry())
        while True:
            self.source.load_reports.on_load_report(who, message, first=False)
            self.source.access_logs.on_access_logs(who, entries)
            self.fed_s += 0.1
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def replicas(count: int) -> AsyncIterator[list[Replica]]:
    """So many, each served and fed."""
    made = [Replica(number) for number in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        for replica in made:
            server = await asyncio.start_server(replica.handle, "127.0.0.1", 0)
            stack.callback(server.close)
            replica.port = server.sockets[0].getsockname()[1]
            feeding = asyncio.create_task(replica.feed())
            stack.callback(feeding.cancel)
        yield made


async def test_what_replicas_expose_is_added_up(tmp_path: Path) -> None:
    one = service()
    async with replicas(2) as made:
        scrape = Scrape("weir", tuple(f"127.0.0.1:{r.port}" for r in made), interval_s=SCRAPE_S)
        async with run_prometheus(tmp_path, scrape) as prometheus:
            with asking(prometheus.url, dialect=WEIR) as source:
                await until(source, one, lambda look: bool(np.isfinite(look.latency_p99_s[0])))
                begin_s, fed_s = time.monotonic(), sum(replica.fed_s for replica in made)
                await asyncio.sleep(6.0)
                look = await until(source, one, lambda look: look.proxies == 2)
                fed = (sum(replica.fed_s for replica in made) - fed_s) / (
                    time.monotonic() - begin_s
                )
    assert look.rate_rps[0] == pytest.approx(110.0 * fed, rel=0.25)
    assert look.in_flight[0] == pytest.approx(4.0 * fed, rel=0.25)
    assert look.error_ratio[0] == pytest.approx(1 / 11, rel=0.05)
    assert look.latency_s[0] == pytest.approx(0.050, rel=0.02)
    assert look.latency_p99_s[0] == pytest.approx(0.050, rel=0.25)
    assert look.utilisation[0] == pytest.approx(0.4, rel=0.02)
    assert look.succeeded[1] == 0.0
    assert np.isnan(look.latency_s[1])
    assert look.workers == 4
    assert look.coverage == 1.0
    assert look.sticky_share == pytest.approx(0.5, rel=0.1)
    assert look.by_place == {NOWHERE: pytest.approx(look.rate_rps[0] * look.window_s, rel=0.1)}


async def test_a_restarted_replica_never_gives_a_negative_rate(tmp_path: Path) -> None:
    one, numbers = service(), []
    async with replicas(1) as (replica,):
        scrape = Scrape("weir", (f"127.0.0.1:{replica.port}",), interval_s=SCRAPE_S)
        async with run_prometheus(tmp_path, scrape) as prometheus:
            with asking(prometheus.url) as source:
                await until(source, one, lambda look: bool(look.rate_rps[0] > 50))
                replica.restart()
                for _ in range(12):
                    await asyncio.sleep(0.3)
                    look = (await source.observe([one])).get(one.name)
                    if look is not None:
                        numbers += [*look.succeeded, *look.failed, *look.in_flight]
    assert len(numbers) > 12
    assert not [number for number in numbers if number < 0]


async def test_names_that_try_to_break_out_of_the_query_find_nothing(tmp_path: Path) -> None:
    evil = Service(ServiceName('default/web"} or vector(1) or x{a="'), service().endpoints)
    regex = Service(ServiceName("default/.*|(.+"), service().endpoints)
    async with run_prometheus(tmp_path) as prometheus:
        for dialect in (WEIR, ENVOY):
            with asking(prometheus.url, dialect=dialect) as source:
                assert await source.observe([evil, regex]) == {}


async def test_a_stopped_prometheus_is_unavailable(tmp_path: Path) -> None:
    async with run_prometheus(tmp_path) as prometheus:
        with asking(prometheus.url) as source:
            assert await source.observe([service()]) == {}
            prometheus.process.kill()
            await prometheus.process.wait()
            with pytest.raises(MetricsUnavailableError) as raised:
                await source.observe([service()])
    assert raised.value.kind == "down"


def test_a_missing_binary_is_said_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("WEIR_PROMETHEUS", raising=False)
    with pytest.raises(StartupError, match="apt-get install prometheus"):
        prometheus_binary()
