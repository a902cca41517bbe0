"""The server on a real socket: what is refused, what ends a stream, what is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from controlplane._pb.base_pb2 import Node as NodeMessage
from controlplane._pb.base_pb2 import Status
from controlplane._pb.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from controlplane._pb.route_pb2 import Route, RouteAction, RouteConfiguration, VirtualHost
from controlplane.errors import StartupError
from controlplane.model import Snapshot
from controlplane.ports import SnapshotSink
from controlplane.xds import Limits, Node, SnapshotCache, XdsServer
from controlplane.xds.connection import Connection
from controlplane.xds.exposition import XdsCollector
from controlplane.xds.kinds import CLUSTER, ENDPOINT, ROUTE
from controlplane.xds.status import Connected, Event, Left, Nack, Refusal, UnknownType
from controlplane.xds.steps import Mode
from controlplane.xds.stream import View

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
DELTA_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
EDS = "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"
NODE = NodeMessage(id="envoy-1", cluster="edge")
DEADLINE_S = 20.0


@contextlib.asynccontextmanager
async def serving(cache: SnapshotCache, **options: Any) -> AsyncIterator[XdsServer]:  # noqa: ANN401
    server = XdsServer(cache, address="127.0.0.1:0", **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0.5)


@contextlib.asynccontextmanager
async def stream(server: XdsServer, path: str = ADS) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        method: Any = channel.stream_stream(path)  # type: ignore[call-arg]
        call = method(timeout=DEADLINE_S)
        yield call
        call.cancel()


async def ask(call: Any, **fields: Any) -> None:  # noqa: ANN401
    await call.write(DiscoveryRequest(**fields).SerializeToString())


async def answer(call: Any) -> DiscoveryResponse:  # noqa: ANN401
    return DiscoveryResponse.FromString(await call.read())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def filled() -> SnapshotCache:
    cache = SnapshotCache()
    cache.set("edge", {CLUSTER: {"a": b""}, ENDPOINT: {"a": b"1"}})
    return cache


async def test_rule_02_a_first_request_without_a_node_is_an_invalid_argument() -> None:
    async with serving(filled()) as server, stream(server) as call:
        await ask(call, type_url=CLUSTER)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_rule_02_the_node_of_the_first_request_holds_for_the_stream() -> None:
    async with serving(filled()) as server, stream(server) as call:
        await ask(call, type_url=CLUSTER, node=NODE)
        await answer(call)
        await ask(call, type_url=ENDPOINT, resource_names=["a"])
        assert [one.value for one in (await answer(call)).resources] == [b"1"]


async def test_rule_09_a_group_without_a_snapshot_is_refused_until_it_has_one() -> None:
    cache = SnapshotCache()
    async with serving(cache) as server:
        async with stream(server) as call:
            await ask(call, type_url=CLUSTER, node=NODE)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
        cache.set("edge", {CLUSTER: {}})
        async with stream(server) as call:
            await ask(call, type_url=CLUSTER, node=NODE)
            assert not (await answer(call)).resources


async def test_routes_go_out_when_their_clusters_are_not_taken_in_time() -> None:
    action = RouteAction(cluster="new")
    host = VirtualHost(name="all", routes=[Route(route=action)])
    routes = RouteConfiguration(name="routes", virtual_hosts=[host]).SerializeToString()
    cache = SnapshotCache()
    cache.set("edge", {CLUSTER: {"new": b""}, ROUTE: {"routes": routes}})
    async with serving(cache, limits=Limits(warm_s=0.2)) as server, stream(server) as call:
        await ask(call, type_url=CLUSTER, node=NODE)
        assert (await answer(call)).type_url == CLUSTER
        await ask(call, type_url=ROUTE, resource_names=["routes"])
        await until(lambda: any(each.awaiting_since_s for each in server._groups["edge"]))
        (routed,) = (one for one in server.clients()[0].types if one.type_url == ROUTE)
        assert routed.held
        assert [one.value for one in (await answer(call)).resources] == [routes]


async def test_a_change_of_the_snapshot_reaches_both_variants() -> None:
    cache: SnapshotCache = filled()
    sink: SnapshotSink = cache
    async with serving(cache) as server, stream(server) as sotw, stream(server, DELTA_ADS) as delta:
        await ask(sotw, type_url=ENDPOINT, resource_names=["a"], node=NODE)
        first = await answer(sotw)
        await ask(sotw, type_url=ENDPOINT, resource_names=["a"], response_nonce=first.nonce)
        await delta.write(
            DeltaDiscoveryRequest(
                type_url=ENDPOINT, resource_names_subscribe=["a"], node=NODE
            ).SerializeToString()
        )
        one = DeltaDiscoveryResponse.FromString(await delta.read())
        assert (one.resources[0].name, one.resources[0].resource.value) == ("a", b"1")
        await delta.write(
            DeltaDiscoveryRequest(type_url=ENDPOINT, response_nonce=one.nonce).SerializeToString()
        )
        await until(lambda: server.counts.of("edge", ENDPOINT).acks == 2)
        sink.publish(Snapshot("edge", {CLUSTER: {"a": b""}, ENDPOINT: {"a": b"2"}}))
        assert [one.value for one in (await answer(sotw)).resources] == [b"2"]
        one = DeltaDiscoveryResponse.FromString(await delta.read())
        assert one.resources[0].resource.value == b"2"
        assert one.system_version_info == cache.version("edge", ENDPOINT)


async def test_the_service_of_a_type_needs_no_type_url() -> None:
    async with serving(filled()) as server, stream(server, EDS) as call:
        await ask(call, resource_names=["a"], node=NODE)
        found = await answer(call)
        assert (found.type_url, found.resources[0].value) == (ENDPOINT, b"1")


async def test_a_node_is_mapped_to_its_group_by_the_callable() -> None:
    cache = filled()
    seen: list[Node] = []

    def to_edge(node: Node) -> str:
        seen.append(node)
        return "edge"

    node = NodeMessage(id="theirs", cluster="any")
    node.metadata["team"] = "search"
    async with serving(cache, node_group=to_edge) as server, stream(server) as call:
        await ask(call, type_url=ENDPOINT, resource_names=["a"], node=node)
        assert (await answer(call)).resources[0].value == b"1"
    assert (seen[0].id, seen[0].cluster, seen[0].metadata) == ("theirs", "any", {"team": "search"})


@pytest.mark.parametrize("first", [True, False])
async def test_garbage_ends_that_stream_alone(first: bool) -> None:
    async with serving(filled()) as server, stream(server) as good, stream(server) as bad:
        await ask(good, type_url=CLUSTER, node=NODE)
        await answer(good)
        if not first:
            await ask(bad, type_url=CLUSTER, node=NODE)
            await answer(bad)
        await bad.write(b"\xff\xff\xff\xff")
        assert await bad.code() is grpc.StatusCode.INVALID_ARGUMENT
        await ask(good, type_url=ENDPOINT, resource_names=["a"])
        assert (await answer(good)).resources


async def test_too_many_names_and_too_large_a_request_are_resource_exhausted() -> None:
    limits = Limits(names_per_type=10, request_bytes=10_000)
    async with serving(filled(), limits=limits) as server:
        async with stream(server) as call:
            names = [str(number) for number in range(11)]
            await ask(call, type_url=ENDPOINT, resource_names=names, node=NODE)
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        async with stream(server) as call:
            await ask(call, type_url=ENDPOINT, resource_names=["x" * 20_000], node=NODE)
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_stream_that_says_nothing_is_closed() -> None:
    limits = Limits(first_request_s=0.05)
    async with serving(filled(), limits=limits) as server, stream(server) as call:
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_client_that_does_not_read_is_closed_and_the_others_are_served() -> None:
    cache = SnapshotCache()
    large = {"a": b"x" * 40_000_000}
    cache.set("edge", {ENDPOINT: large})
    events: list[Event] = []
    limits = Limits(write_s=0.2)
    async with serving(cache, limits=limits, observer=events.append) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        try:
            writer.write(http2_request(ADS, DiscoveryRequest(type_url=ENDPOINT, node=NODE)))
            await until(lambda: len(server.clients()) == 1)
            await until(lambda: not server.clients())
            # Where it reads after all, it learns that it was closed.
            window = (2**30).to_bytes(4, "big")
            writer.write(frame(8, 0, 0, window) + frame(8, 0, 1, window))
            await found_in(reader, b"the client does not read")
        finally:
            writer.close()
        await until(lambda: len(events) == 3)
        connected, event, left = events
        assert isinstance(connected, Connected)
        assert isinstance(left, Left)
        assert isinstance(event, Refusal)
        assert event.code == "DEADLINE_EXCEEDED"
        async with stream(server) as call:
            await ask(call, type_url="none", node=NODE)
            await until(lambda: len(server.clients()) == 1)


async def found_in(reader: asyncio.StreamReader, words: bytes) -> None:
    async with asyncio.timeout(DEADLINE_S):
        seen = b""
        while words not in seen:
            more = await reader.read(65_536)
            assert more, "the connection was closed before"
            seen = seen[-1000:] + more


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + number.to_bytes(4, "big") + payload


def http2_request(path: str, *messages: DiscoveryRequest) -> bytes:
    """A gRPC stream by hand, of a client that does not open its flow control window."""

    def literal(name: str, value: str) -> bytes:
        key, text = name.encode(), value.encode()
        assert len(key) < 127
        assert len(text) < 127
        return b"\x00" + bytes([len(key)]) + key + bytes([len(text)]) + text

    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "a"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    headers = b"".join(literal(name, value) for name, value in fields.items())
    bodies = [message.SerializeToString() for message in messages]
    parts = [b"\x00" + len(body).to_bytes(4, "big") + body for body in bodies]
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0, b"")
        + frame(1, 4, 1, headers)
        + b"".join(frame(0, 0, 1, part) for part in parts)
    )


async def test_events_and_metrics_tell_of_nacks_unknown_types_and_refusals() -> None:
    events: list[Event] = []
    registry = CollectorRegistry()
    async with serving(filled(), observer=events.append) as server:
        registry.register(XdsCollector(server))
        async with stream(server) as call:
            await ask(call, type_url=ENDPOINT, resource_names=["a"], node=NODE)
            first = await answer(call)
            await call.write(
                DiscoveryRequest(
                    type_url=ENDPOINT,
                    resource_names=["a"],
                    response_nonce=first.nonce,
                    error_detail={"code": 3, "message": "no"},
                ).SerializeToString()
            )
            await ask(call, type_url="type.googleapis.com/test.Strange")
            await until(lambda: len(events) == 3)
            (client,) = server.clients("edge")
            assert client.node.id == "envoy-1"
            assert client.acked(ENDPOINT) == ""
            text = generate_latest(registry).decode()
        async with stream(server) as call:
            await ask(call, type_url=ENDPOINT)
            await call.code()
    connected, nack, unknown, left, refusal = events
    assert isinstance(connected, Connected)
    assert (connected.node.id, connected.group, connected.mode) == ("envoy-1", "edge", Mode.SOTW)
    assert isinstance(left, Left)
    assert left.node == connected.node
    assert isinstance(nack, Nack)
    assert (nack.node.id, nack.message, nack.version) == ("envoy-1", "no", first.version_info)
    assert isinstance(unknown, UnknownType)
    assert isinstance(refusal, Refusal)
    assert 'weir_xds_streams{fleet="edge",mode="sotw"} 1.0' in text
    assert 'weir_xds_streams_refusing{fleet="edge",type="eds"} 1.0' in text
    assert 'weir_xds_streams_behind{fleet="edge",type="other"} 0.0' in text
    assert 'weir_xds_nacks_total{fleet="edge",type="eds"} 1.0' in text
    assert 'weir_xds_unknown_types_total{fleet="edge"} 1.0' in text


async def test_a_client_that_refuses_everything_gets_each_content_once_and_disturbs_nobody() -> (
    None
):
    cache = filled()
    async with serving(cache) as server, stream(server) as refusing, stream(server) as taking:
        for call in (refusing, taking):
            await ask(call, type_url=ENDPOINT, resource_names=["a"], node=NODE)
        counts, got = server.counts.of("edge", ENDPOINT), []
        for number in range(20):
            bodies = []
            for call in (refusing, taking):
                found = await answer(call)
                bodies.append(found.resources[0].value)
                error = Status(code=3, message="no") if call is refusing else None
                fields = {"type_url": ENDPOINT, "resource_names": ["a"]}
                await ask(call, response_nonce=found.nonce, error_detail=error, **fields)
            got.append(bodies)
            await until(lambda: counts.nacks == counts.acks == len(got))
            cache.set("edge", {CLUSTER: {"a": b""}, ENDPOINT: {"a": b"%d" % (number + 2)}})
        wanted = [[b"%d" % (number + 1)] * 2 for number in range(20)]
        assert got == wanted
        assert counts.pushes <= 2 * 21


async def test_an_address_that_is_taken_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartupError, match=address):
            await XdsServer(SnapshotCache(), address=address).start()
    async with serving(SnapshotCache()) as server:
        with pytest.raises(StartupError, match="taken"):
            await XdsServer(SnapshotCache(), address=f"127.0.0.1:{server.port}").start()


async def test_an_address_that_others_can_reach_is_refused_without_leave() -> None:
    with pytest.raises(StartupError, match="not a loopback address"):
        await XdsServer(SnapshotCache(), address="0.0.0.0:0").start()
    server = XdsServer(SnapshotCache(), address="0.0.0.0:0", insecure=True)
    await server.start()
    await server.stop(0)


async def test_streams_of_nodes_that_are_of_another_group_now_come_back_to_it() -> None:
    cache = filled()
    cache.set("core", {CLUSTER: {"a": b"", "b": b""}})
    groups = {"envoy-1": "edge", "envoy-2": "edge"}
    async with (
        serving(cache, node_group=lambda node: groups[node.id]) as server,
        stream(server) as moves,
        stream(server) as stays,
    ):
        await ask(moves, type_url=CLUSTER, node=NODE)
        await answer(moves)
        await ask(stays, type_url=CLUSTER, node=NodeMessage(id="envoy-2"))
        await answer(stays)
        groups["envoy-1"] = "core"
        server.regroup()
        assert await moves.code() is grpc.StatusCode.UNAVAILABLE
        assert [one.node.id for one in server.clients()] == ["envoy-2"]
        async with stream(server) as again:
            await ask(again, type_url=CLUSTER, node=NODE)
            assert len((await answer(again)).resources) == 2


async def test_a_fault_with_one_stream_keeps_the_news_from_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = filled()
    on_view = Connection.on_view

    def faulty(connection: Connection, view: View) -> None:
        if connection.node.id == "envoy-1":
            raise ZeroDivisionError
        on_view(connection, view)

    async with serving(cache) as server, stream(server) as one, stream(server) as other:
        await ask(one, type_url=CLUSTER, node=NODE)
        await answer(one)
        await ask(
            other,
            type_url=ENDPOINT,
            resource_names=["a"],
            node=NodeMessage(id="envoy-2", cluster="edge"),
        )
        first = await answer(other)
        await ask(other, type_url=ENDPOINT, resource_names=["a"], response_nonce=first.nonce)
        await until(lambda: server.counts.of("edge", ENDPOINT).acks == 1)
        monkeypatch.setattr(Connection, "on_view", faulty)
        cache.set("edge", {CLUSTER: {"a": b""}, ENDPOINT: {"a": b"2"}})
        assert [one.value for one in (await answer(other)).resources] == [b"2"]
        await until(lambda: len(server.clients()) == 1)


async def test_stop_ends_every_stream_and_refuses_new_ones() -> None:
    server = XdsServer(filled(), address="127.0.0.1:0")
    await server.start()
    async with contextlib.AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(stream(server)) for _ in range(20)]
        for call in calls:
            await ask(call, type_url=CLUSTER, node=NODE)
            await answer(call)
        await server.stop(1.0)
        codes = await asyncio.gather(*(call.code() for call in calls))
        assert set(codes) == {grpc.StatusCode.UNAVAILABLE}
        async with stream(server) as late:
            assert await late.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop(1.0)


async def test_a_server_can_be_stopped_at_once_again_and_again() -> None:
    for _ in range(300):  # two stops at a time made gRPC crash, most often well before this many
        server = XdsServer(SnapshotCache(), address="127.0.0.1:0")
        await server.start()
        await server.stop(0)


async def test_a_grace_that_ends_while_a_stream_is_being_closed_is_no_error() -> None:
    for _ in range(150):  # the cancel of one stop hit what the next waits for, in 1 of 15
        async with serving(filled()) as server, stream(server) as call:
            await ask(call, type_url=CLUSTER, node=NODE)
            await answer(call)
            await server.stop(0)


async def test_other_services_share_the_address() -> None:
    async def echo(request: bytes, _: object) -> bytes:
        return request

    handler = grpc.method_handlers_generic_handler(
        "test.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    )
    async with (
        serving(filled(), handlers=(handler,)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        method: Any = channel.unary_unary("/test.Echo/Echo")  # type: ignore[call-arg]
        assert await method(b"hello") == b"hello"


async def test_streams_of_other_groups_hear_nothing_of_a_change() -> None:
    cache = filled()
    cache.set("core", {CLUSTER: {"b": b""}})
    async with serving(cache) as server, stream(server) as call:
        await ask(call, type_url=CLUSTER, node=NODE)
        first = await answer(call)
        await ask(call, type_url=CLUSTER, response_nonce=first.nonce)
        await until(lambda: server.counts.of("edge", CLUSTER).acks == 1)
        cache.set("core", {CLUSTER: {"b": b"", "c": b""}})
        cache.set("edge", {CLUSTER: {"z": b""}, ENDPOINT: {}})
        second = await answer(call)
        assert second.version_info == cache.version("edge", CLUSTER)
        assert server.counts.of("edge", CLUSTER).pushes == 2
