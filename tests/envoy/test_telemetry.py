"""Access logs and load reports of the real Envoy, from its wire to an observation."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from controlplane.lab.envoy import free_port, run_envoy
from controlplane.model import Endpoint, Observation, Service, ServiceName
from controlplane.observe.in_process import InProcessSource
from controlplane.observe.totals import Field
from controlplane.translate.runtime import ACCESS_LOG_SAMPLING
from controlplane.xds.access_logs import AccessLogService
from controlplane.xds.load_reports import LoadReportService
from controlplane.xds.telemetry import TelemetryMetrics
from tests.envoy.backends import Backend, get, running

pytestmark = pytest.mark.envoy

WEB = ServiceName("default/web")
ORCA_METRICS = ["application_utilization", "cpu_utilization", "named_metrics.queue"]
TYPES = "type.googleapis.com/envoy.extensions"


def at(port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def cluster(name: str, ports: list[int], **more: object) -> dict[str, Any]:
    assignment = {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": at(port)} for port in ports]}],
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": assignment,
        **more,
    }


def bootstrap(
    listen: int,
    telemetry: int,
    ports: list[int],
    *,
    reports: bool,
    percent: float = 100.0,
    flush_s: float = 0.1,
) -> dict[str, Any]:
    """One listener, one cluster, and the two streams to us."""
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    to_us = {"envoy_grpc": {"cluster_name": "weir"}}
    log = {
        "name": "weir",
        "filter": {
            "runtime_filter": {
                "runtime_key": ACCESS_LOG_SAMPLING,
                "percent_sampled": {
                    "numerator": round(percent * 10_000),
                    "denominator": "MILLION",
                },
                "use_independent_randomness": True,
            }
        },
        "typed_config": {
            "@type": f"{TYPES}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {
                "log_name": "weir",
                "transport_api_version": "V3",
                "grpc_service": to_us,
                "buffer_flush_interval": f"{flush_s}s",
                "buffer_size_bytes": 16384,
            },
        },
    }
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "access_log": [log],
        "route_config": {
            "name": "r",
            "virtual_hosts": [
                {
                    "name": "v",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": WEB}}],
                }
            ],
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
        ],
    }
    made: dict[str, Any] = {
        "node": {"id": "envoy-1", "cluster": "fleet", "metadata": {"weir.dev/workers": 1}},
        "admin": at(free_port()),
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    **at(listen),
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                cluster(WEB, ports, lrs_report_endpoint_metrics=ORCA_METRICS),
                cluster("weir", [telemetry], typed_extension_protocol_options=http2),
            ],
        },
    }
    if reports:
        made["cluster_manager"] = {
            "load_stats_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [to_us],
            }
        }
    return made


@dataclass
class Lab:
    source: InProcessSource
    service: Service
    listen: int

    async def look(self) -> Observation | None:
        return (await self.source.observe([self.service])).get(WEB)

    async def until(
        self, enough: Callable[[Observation], bool], deadline_s: float = 15.0
    ) -> Observation:
        """Look again and again until this holds."""
        last = None
        end_s = time.monotonic() + deadline_s
        while time.monotonic() < end_s:
            last = await self.look()
            if last is not None and enough(last):
                return last
            await asyncio.sleep(0.05)
        raise AssertionError(f"not seen in {deadline_s} s; last {last}")

    def ended(self) -> float:
        return sum(self.counted()["SUCCEEDED"]) + sum(self.counted()["FAILED"])

    def counted(self) -> Mapping[str, list[float]]:
        totals = self.source.catalogue.get(WEB)
        assert totals is not None
        totals.fold()
        return {field.name: totals.counted[field].tolist() for field in Field}


@asynccontextmanager
async def lab(
    folder: Path,
    *backends: Backend,
    reports: bool = True,
    percent: float = 100.0,
    flush_s: float = 0.1,
) -> AsyncIterator[Lab]:
    source = InProcessSource(time.monotonic, report_interval_s=0.2)
    metrics = TelemetryMetrics(CollectorRegistry())
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            AccessLogService(source.access_logs, metrics).handler(),
            LoadReportService(source.load_reports, metrics, interval_s=0.2).handler(),
        )
    )
    telemetry = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    source.access_logs.sampled(percent)
    listen = free_port()
    try:
        async with running(*backends):
            ports = [backend.port for backend in backends]
            service = Service(WEB, tuple(Endpoint("127.0.0.1", port) for port in ports))
            source.declare([service])
            boot = bootstrap(
                listen, telemetry, ports, reports=reports, percent=percent, flush_s=flush_s
            )
            async with run_envoy(boot, folder):
                yield Lab(source, service, listen)
    finally:
        await server.stop(None)


async def test_counts_latency_and_utilisation_are_what_the_backends_did(tmp_path: Path) -> None:
    orca = {"endpoint-load-metrics": "TEXT cpu_utilization=0.3,application_utilization=0.6"}
    slow, fast = Backend(0.08, headers=orca), Backend(0.02)
    failing = Backend(0.0, status=503)
    async with lab(tmp_path, slow, fast, failing) as here:
        statuses = await asyncio.gather(*(get(here.listen, 15) for _ in range(6)))
        sent = [status for one in statuses for status in one]
        await here.until(lambda _: here.ended() == len(sent))
        await here.until(lambda _: here.source.receipts.log_entries == len(sent))
        counted = here.counted()
    assert counted["SUCCEEDED"] == [slow.taken, fast.taken, 0.0]
    assert counted["FAILED"] == [0.0, 0.0, failing.taken]
    assert sent.count(503) == failing.taken
    assert counted["LATENCY_SAMPLES"] == [slow.taken, fast.taken, 0.0]
    for i, backend in enumerate((slow, fast)):
        mean_s = counted["LATENCY_S"][i] / counted["LATENCY_SAMPLES"][i]
        assert backend.delay_s <= mean_s <= statistics.mean(backend.took_s) + 0.25
    assert counted["UTILISATION"][0] == pytest.approx(0.6 * slow.taken)
    assert counted["UTILISATION_SAMPLES"] == [slow.taken, 0.0, 0.0]


async def test_an_observation_ranks_the_endpoints_by_what_they_do(tmp_path: Path) -> None:
    slow, fast = Backend(0.2), Backend(0.02)
    async with lab(tmp_path, slow, fast) as here, asyncio.TaskGroup() as clients:
        for _ in range(4):
            clients.create_task(get(here.listen, 12))
        looks = []
        for _ in range(6):
            await asyncio.sleep(0.4)
            look = await here.look()
            if look is not None and not np.isnan(look.latency_s).any():
                looks.append(look)
    assert looks, "no look had a latency of both"
    for look in looks:
        assert look.latency_s[0] > look.latency_s[1]
        assert look.latency_p99_s[0] >= 0.2 * 0.98
    in_flight = np.mean([look.in_flight for look in looks], axis=0)
    assert in_flight[0] > in_flight[1]
    assert in_flight.sum() <= 4.5


async def test_requests_in_progress_are_seen_before_they_end(tmp_path: Path) -> None:
    stuck = Backend(8.0)
    async with lab(tmp_path, stuck) as here:
        clients = [asyncio.create_task(get(here.listen)) for _ in range(5)]
        look = await here.until(lambda look: bool(look.in_flight[0] >= 4.9))
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    assert look.succeeded[0] == 0.0
    assert np.isnan(look.latency_s[0])
    assert look.in_flight[0] == pytest.approx(5.0, abs=0.2)


async def test_a_client_that_leaves_is_neither_success_nor_failure(tmp_path: Path) -> None:
    async with lab(tmp_path, Backend(3.0)) as here:
        client = asyncio.create_task(get(here.listen))
        await asyncio.sleep(0.3)
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        await here.until(lambda _: here.source.receipts.aborted_entries == 1)
        counted = here.counted()
    assert counted["SUCCEEDED"] == counted["FAILED"] == [0.0]


async def test_a_backend_that_turns_bad_counts_as_failed(tmp_path: Path) -> None:
    backend = Backend()
    async with lab(tmp_path, backend) as here:
        assert await get(here.listen) == [200]
        backend.status = 500
        assert await get(here.listen, 3) == [500] * 3
        await here.until(lambda _: here.counted()["FAILED"] == [3.0])
        assert here.counted()["SUCCEEDED"] == [1.0]


async def test_without_load_reports_the_logs_count(tmp_path: Path) -> None:
    async with lab(tmp_path, Backend(0.01), reports=False) as here:
        await get(here.listen, 20)
        await here.until(lambda _: here.source.receipts.log_entries == 20)
        look = await here.until(lambda _: here.counted()["SUCCEEDED"] == [20.0])
    assert np.isnan(look.in_flight[0])
    assert look.coverage == 1.0


async def test_a_sampled_log_is_scaled_up_to_about_what_was_sent(tmp_path: Path) -> None:
    async with lab(tmp_path, Backend(), reports=False, percent=25.0) as here:
        await asyncio.gather(*(get(here.listen, 100) for _ in range(4)))
        await asyncio.sleep(1.0)
        await here.look()
        counted = here.counted()
    entries = here.source.receipts.log_entries
    assert 50 <= entries <= 160  # 100 expected; six standard deviations are 52
    assert counted["SUCCEEDED"] == [4.0 * entries]
    assert counted["LATENCY_SAMPLES"] == [float(entries)]
