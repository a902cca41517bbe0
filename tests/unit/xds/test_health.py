"""Health and reflection, by the clients that come with gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.kinds import CLUSTER
from controlplane.xds.services import DISCOVERY_SERVICES

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
STATUS = health_pb2.HealthCheckResponse
DEADLINE_S = 20.0


@pytest.fixture
async def channel_of() -> AsyncIterator[Any]:
    opened = []

    def channel(server: XdsServer) -> grpc.aio.Channel:
        opened.append(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        return opened[-1]

    yield channel
    for one in opened:
        await one.close(None)


async def test_it_serves_from_the_first_snapshot_until_it_is_stopped(channel_of: Any) -> None:  # noqa: ANN401
    cache = SnapshotCache()
    server = XdsServer(cache, address="127.0.0.1:0")
    await server.start()
    stub: Any = health_pb2_grpc.HealthStub(channel_of(server))

    async def check(service: str) -> object:
        request = health_pb2.HealthCheckRequest(service=service)
        return (await stub.Check(request, timeout=DEADLINE_S)).status

    for service in ("", ADS, *DISCOVERY_SERVICES):
        assert await check(service) == STATUS.NOT_SERVING
    with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
        await check("nobody")
    watching = stub.Watch(health_pb2.HealthCheckRequest(service=ADS), timeout=DEADLINE_S)
    assert (await watching.read()).status == STATUS.NOT_SERVING
    cache.set("edge", {CLUSTER: {}})
    assert (await watching.read()).status == STATUS.SERVING
    assert await check("") == STATUS.SERVING
    await server.stop(0.5)
    assert (await watching.read()).status == STATUS.NOT_SERVING
    assert await watching.code() is not grpc.StatusCode.OK


async def test_it_serves_at_once_where_there_is_a_snapshot_before_the_start(
    channel_of: Any,  # noqa: ANN401
) -> None:
    cache = SnapshotCache()
    cache.set("edge", {CLUSTER: {}})
    server = XdsServer(cache, address="127.0.0.1:0")
    await server.start()
    stub: Any = health_pb2_grpc.HealthStub(channel_of(server))
    found = await stub.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)
    assert found.status == STATUS.SERVING
    await server.stop(0)


async def test_reflection_lists_every_service_and_describes_what_it_can(channel_of: Any) -> None:  # noqa: ANN401
    async def echo(request: bytes, _: object) -> bytes:
        return request

    theirs = grpc.method_handlers_generic_handler(
        "test.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    )
    server = XdsServer(SnapshotCache(), address="127.0.0.1:0", handlers=(theirs,))
    await server.start()
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel_of(server))
    asking = stub.ServerReflectionInfo(timeout=DEADLINE_S)

    async def ask(**what: str) -> Any:  # noqa: ANN401
        await asking.write(reflection_pb2.ServerReflectionRequest(**what))
        return await asking.read()

    listed = await ask(list_services="")
    assert {one.name for one in listed.list_services_response.service} == {
        *DISCOVERY_SERVICES,
        "envoy.service.status.v3.ClientStatusDiscoveryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "test.Echo",
    }
    described = await ask(file_containing_symbol="grpc.health.v1.Health")
    assert described.file_descriptor_response.file_descriptor_proto
    unknown = await ask(file_containing_symbol=ADS)
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    asking.cancel()
    await server.stop(0)
