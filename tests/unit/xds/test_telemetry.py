"""The two telemetry services over real gRPC, on a server of grpc.aio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from controlplane._pb import access_log_pb2, base_pb2, load_stats_pb2
from controlplane.errors import TelemetryError
from controlplane.model import NOWHERE, Proxy, Zone
from controlplane.xds.access_logs import AccessLogService
from controlplane.xds.load_reports import SEND_ALL, LoadReportService
from controlplane.xds.telemetry import TelemetryLimits, TelemetryMetrics, proxy_of

ALS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
LRS = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"

Call = Any


@dataclass
class Sink:
    """Keeps what it is handed; refuses what does not parse, as the real one does."""

    logs: list[tuple[Proxy, bytes]] = field(default_factory=list)
    reports: list[tuple[Proxy, bytes, bool]] = field(default_factory=list)

    def on_access_logs(self, proxy: Proxy, message: bytes) -> None:
        if message == b"\xff":
            raise TelemetryError("not a StreamAccessLogsMessage")
        self.logs.append((proxy, message))

    def on_load_report(self, proxy: Proxy, message: bytes, *, first: bool) -> None:
        self.reports.append((proxy, message, first))


@dataclass
class Server:
    sink: Sink
    registry: CollectorRegistry
    channel: grpc.aio.Channel

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def logs(self) -> Call:
        return self._channel().stream_unary(ALS)()

    def reports(self) -> Call:
        return self._channel().stream_stream(LRS)()

    def _channel(self) -> Call:
        return self.channel  # its stubs insist on what grpcio leaves out


@asynccontextmanager
async def serving(limits: TelemetryLimits | None = None) -> AsyncIterator[Server]:
    sink, registry = Sink(), CollectorRegistry()
    metrics = TelemetryMetrics(registry)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            AccessLogService(sink, metrics, limits).handler(),
            LoadReportService(
                sink, metrics, interval_s=0.25, clusters=lambda _: ["default/web"], limits=limits
            ).handler(),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Server(sink, registry, channel)
    finally:
        await server.stop(None)


def node(name: str = "envoy-1", *features: str) -> base_pb2.Node:
    return base_pb2.Node(id=name, cluster="fleet", client_features=features)


def hello(name: str = "envoy-1") -> bytes:
    message = access_log_pb2.StreamAccessLogsMessage()
    message.identifier.node.CopyFrom(node(name))
    return message.SerializeToString()


async def test_the_node_of_the_first_message_is_remembered_for_its_stream() -> None:
    async with serving() as server:
        call = server.logs()
        for message in (hello(), b"", b""):
            await call.write(message)
        await call.done_writing()
        assert await call == b""
    assert [proxy.id for proxy, _ in server.sink.logs] == ["envoy-1"] * 3
    assert server.value("weir_telemetry_messages_total", service="access_logs") == 3.0
    assert server.value("weir_telemetry_streams", service="access_logs") == 0.0


async def test_a_client_that_can_is_asked_for_all_clusters() -> None:
    async with serving() as server:
        call = server.reports()
        request = load_stats_pb2.LoadStatsRequest(node=node("envoy-1", SEND_ALL))
        await call.write(request.SerializeToString())
        answer = load_stats_pb2.LoadStatsResponse.FromString(await call.read())
        await call.write(b"")
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF  # type: ignore[attr-defined]
    assert answer.send_all_clusters
    assert answer.report_endpoint_granularity
    assert not answer.clusters
    assert answer.load_reporting_interval.ToMilliseconds() == 250
    assert [first for _, _, first in server.sink.reports] == [True, False]


async def test_a_client_that_cannot_is_asked_for_clusters_by_name() -> None:
    async with serving() as server:
        call = server.reports()
        await call.write(load_stats_pb2.LoadStatsRequest(node=node()).SerializeToString())
        answer = load_stats_pb2.LoadStatsResponse.FromString(await call.read())
        call.cancel()
    assert not answer.send_all_clusters
    assert list(answer.clusters) == ["default/web"]


@pytest.mark.parametrize(
    ("messages", "status", "reason"),
    [
        ([b"\x0a\xff"], grpc.StatusCode.INVALID_ARGUMENT, "garbage"),
        ([hello(), b"\xff"], grpc.StatusCode.INVALID_ARGUMENT, "garbage"),
        ([hello("")], grpc.StatusCode.INVALID_ARGUMENT, "node"),
        ([hello(), b"\x00" * 20_000], grpc.StatusCode.RESOURCE_EXHAUSTED, "size"),
        ([], grpc.StatusCode.DEADLINE_EXCEEDED, "silent"),
    ],
)
async def test_a_bad_stream_is_closed_alone_and_counted(
    messages: list[bytes], status: grpc.StatusCode, reason: str
) -> None:
    async with serving(TelemetryLimits(max_message_bytes=10_000, first_message_s=0.3)) as server:
        good = server.logs()
        await good.write(hello())
        bad = server.logs()
        for message in messages:
            await bad.write(message)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await bad
        assert ended.value.code() is status
        await good.write(b"")
        await good.done_writing()
        assert await good == b""
    closed = server.value(
        "weir_telemetry_streams_closed_total", service="access_logs", reason=reason
    )
    assert closed == 1.0


async def test_one_stream_too_many_is_refused() -> None:
    async with serving(TelemetryLimits(max_streams=1)) as server:
        first = server.reports()
        await first.write(load_stats_pb2.LoadStatsRequest(node=node()).SerializeToString())
        await first.read()
        second = server.reports()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await second.read()
        assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()


@pytest.mark.parametrize(
    ("said", "workers"), [(4.0, 4), (0.0, 1), (-3.0, 1), (1e9, 1), (float("nan"), 1)]
)
def test_workers_are_those_that_the_node_says_within_reason(said: float, workers: int) -> None:
    one = node()
    one.metadata["weir.dev/workers"] = said
    assert proxy_of(one).workers == workers


def test_an_endless_node_id_is_cut() -> None:
    assert len(proxy_of(node("x" * 100_000)).id) == 256


def test_the_place_of_a_proxy_is_that_of_its_node() -> None:
    one = node()
    one.locality.region, one.locality.zone = "eu", "a" * 100_000
    assert proxy_of(one).where == Zone("eu", "a" * 256)
    assert proxy_of(node()).where == NOWHERE
