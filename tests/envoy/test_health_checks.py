"""Health checks of other kinds than a plain request: gRPC, Redis, what stands in an answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from controlplane.lab.envoy import free_port
from controlplane.lab.redis import Redis, run_redis
from tests.envoy.calls import Callee, call, channel
from tests.envoy.echo import Echo, echoes
from tests.envoy.echo import call as ask
from tests.envoy.edge import Edge, backend, edge, gateway, policy, route, to, until
from tests.envoy.test_grpc_routes import grpc_route
from tests.envoy.test_stream_routes import stream_route

pytestmark = [pytest.mark.envoy, pytest.mark.redis, pytest.mark.asyncio(loop_scope="module")]

_Servicer: Any = health.aio.HealthServicer  # type: ignore[attr-defined]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
OFTEN = "interval: 100ms, unhealthyThreshold: 2"


def active(more: str) -> str:
    """A policy's spec."""
    return f"  healthCheck: {{active: {{{OFTEN}, {more}}}}}\n"


POLICIES = {
    "server": active("type: GRPC"),
    "carts": active("type: GRPC, grpc: {service: shop.v1.Carts}"),
    "old": active("type: GRPC"),
    "redis": active("type: Redis, redis: {key: maintenance}"),
    "alive": active("type: Redis"),
    "h2": active(
        "type: HTTP, http: {path: /any.S/M, method: POST, requestHeaders: "
        "[{name: content-type, value: application/grpc}, {name: te, value: trailers}]}"
    ),
    "body": active(
        "type: HTTP, http: {path: /ready, requestHeaders: [{name: x-who, value: 100%}], "
        'expectedResponse: {text: \'"x-who": "100%"\'}}'
    ),
    "other": active(
        "type: HTTP, http: {path: /ready, expectedResponse: {type: Binary, binary: bm90IHRoZXJl}}"
    ),
}
FAULT = (
    "Backend default/old is spoken to in HTTP/1.1, which carries no gRPC; its endpoints are "
    "not asked"
)


@dataclass
class Server:
    """Answers calls, and says how it is."""

    callee: Callee
    health: Any
    """The servicer of `grpc.health.v1.Health`."""


@contextlib.asynccontextmanager
async def serving(*names: str) -> AsyncIterator[Mapping[str, Server]]:
    """Run one server of gRPC for each name."""
    async with contextlib.AsyncExitStack() as stack:
        found = {name: Server(Callee(name), _Servicer()) for name in names}
        for one in found.values():
            made = grpc.aio.server()
            health_pb2_grpc.add_HealthServicer_to_server(one.health, made)
            made.add_generic_rpc_handlers((one.callee,))
            one.callee.port = made.add_insecure_port("127.0.0.1:0")
            await one.health.set("", SERVING)
            await one.health.set("shop.v1.Carts", SERVING)
            await made.start()
            stack.push_async_callback(made.stop, 0)
        yield found


@dataclass
class Scene:
    """An Envoy, and what is behind it."""

    made: Edge
    port: int
    tcp: int
    servers: Mapping[str, Server]
    echoes: Mapping[str, Echo]
    redis: tuple[Redis, Redis]

    async def healthy(self, name: str, count: int) -> bool:
        """Whether so many endpoints of a Backend are."""
        found = await self.made.envoy.stats(f"^cluster.default/{name}.membership_healthy$")
        return list(found.values()) == [count]

    async def origins(self, host: str, times: int = 10) -> set[str]:
        """Who answers calls."""
        async with channel(self.port, f"{host}.test") as via:
            return {(await call(via, "/a.S/M")).origin for _ in range(times)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    port, tcp, plain = free_port(), free_port(), free_port()
    folder: Path = tmp_path_factory.mktemp("checks")
    async with contextlib.AsyncExitStack() as stack:
        servers = await stack.enter_async_context(serving("a", "b"))
        web = await stack.enter_async_context(echoes("web"))
        (folder / "2").mkdir()
        redis = (
            await stack.enter_async_context(run_redis(folder)),
            await stack.enter_async_context(run_redis(folder / "2")),
        )
        calls = [one.callee.port for one in servers.values()]
        places: dict[str, list[int]] = {
            "server": calls,
            "carts": calls,
            "old": [web["web"].port],
            "redis": [one.port for one in redis],
            "alive": [redis[0].port, web["web"].port],
            "h2": calls,
            "body": [web["web"].port],
            "other": [web["web"].port],
        }
        documents = [
            gateway(
                f"name: http, port: {port}, protocol: HTTP",
                f"name: tcp, port: {tcp}, protocol: TCP",
                f"name: alive, port: {plain}, protocol: TCP",
            ),
            *(backend(name, *ports) for name, ports in places.items()),
            *(policy("TrafficPolicy", n, f"Backend/{n}", spec) for n, spec in POLICIES.items()),
            *(grpc_route(name, f"[{{{to(name)}}}]") for name in ("server", "carts", "h2")),
            *(
                route(name, f"[{{{to(name)}}}]", hosts=f"[{name}.test]")
                for name in ("old", "body", "other")
            ),
            stream_route("TCPRoute", "redis", to("redis"), listener="tcp"),
            stream_route("TCPRoute", "alive", to("alive"), listener="alive"),
        ]
        made = await stack.enter_async_context(edge(folder, *documents, faults=[FAULT]))
        yield Scene(made, port, tcp, servers, web, redis)


async def test_a_server_of_grpc_that_does_not_serve_gets_no_calls(scene: Scene) -> None:
    await until(lambda: scene.healthy("server", 2))
    await scene.servers["b"].health.set("", NOT_SERVING)
    await until(lambda: scene.healthy("server", 1))
    assert await scene.origins("server") == {"a"}
    assert await scene.healthy("carts", 2)  # it asks for a service, which serves
    await scene.servers["b"].health.set("", SERVING)
    await until(lambda: scene.healthy("server", 2))


async def test_the_health_of_a_service_is_asked_for_by_its_name(scene: Scene) -> None:
    await until(lambda: scene.healthy("carts", 2))
    await scene.servers["a"].health.set("shop.v1.Carts", NOT_SERVING)
    await until(lambda: scene.healthy("carts", 1))
    assert await scene.origins("carts") == {"b"}
    assert await scene.healthy("server", 2)
    await scene.servers["a"].health.set("shop.v1.Carts", SERVING)


async def test_a_backend_that_speaks_http_1_is_not_asked_by_grpc(scene: Scene) -> None:
    assert (await ask(scene.port, host="old.test")).status == 200
    assert await scene.healthy("old", 1)
    found = await scene.made.envoy.stats("^cluster.default/old.health_check.attempt$")
    assert sum(found.values()) == 0


async def test_a_redis_that_is_marked_for_maintenance_gets_no_connections(scene: Scene) -> None:
    await until(lambda: scene.healthy("redis", 2))
    first, second = scene.redis
    await _command(first.port, "SET name first")
    await _command(second.port, "SET name second")
    await _command(second.port, "SET maintenance yes")
    await until(lambda: scene.healthy("redis", 1))
    names = Counter([await _command(scene.tcp, "GET name") for _ in range(10)])
    assert names == {"first": 10}
    await _command(second.port, "DEL maintenance")
    await until(lambda: scene.healthy("redis", 2))


async def test_what_is_no_redis_is_not_taken_for_one(scene: Scene) -> None:
    await until(lambda: scene.healthy("alive", 1))


async def _command(port: int, text: str) -> str:
    """What a Redis answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{text}\r\n".encode())
        first = (await reader.readline()).decode().strip()
        if not first.startswith("$"):
            return first
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


async def test_a_backend_of_http_2_is_asked_in_http_2(scene: Scene) -> None:
    """An answer of a server that speaks nothing else: of gRPC, with status 200."""
    await until(lambda: _succeeded(scene, "h2"))
    assert await scene.healthy("h2", 2)


async def _succeeded(scene: Scene, name: str) -> bool:
    found = await scene.made.envoy.stats(f"^cluster.default/{name}.health_check.success$")
    return sum(found.values()) >= 2


async def test_an_answer_must_hold_what_is_expected(scene: Scene) -> None:
    await until(lambda: _succeeded(scene, "body"))
    asked = [one for one in scene.echoes["web"].received if one.path == "/ready"]
    assert {one.headers.get("x-who") for one in asked} == {"100%", None}
    await until(lambda: scene.healthy("other", 0))
    assert await scene.healthy("body", 1)
