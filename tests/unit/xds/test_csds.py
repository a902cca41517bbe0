"""The client status discovery service on a real socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from controlplane._pb.admin_pb2 import ClientResourceStatus
from controlplane._pb.base_pb2 import Node as NodeMessage
from controlplane._pb.base_pb2 import Status
from controlplane._pb.discovery_pb2 import DiscoveryRequest
from controlplane._pb.status_pb2 import (
    ClientConfig,
    ClientStatusRequest,
    ClientStatusResponse,
    ConfigStatus,
    NodeMatcher,
    RegexMatcher,
    StringMatcher,
    StructMatcher,
)
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.client_config import Told, joined
from controlplane.xds.csds import SERVICE, ClientStatusService, StatusLimits
from controlplane.xds.gate import DeniedError, Gate, Peer
from controlplane.xds.kinds import CLUSTER, ENDPOINT, SECRET
from controlplane.xds.matching import MAX_MATCHERS
from controlplane.xds.status import Event
from tests.unit.xds.test_server import ADS, EDS, answer, ask, serving, stream, until

SDS = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
SECRET_BODY = b"\x0a\x04cert\x12\x0athe secret"


def matchers(**how: Any) -> list[NodeMatcher]:  # noqa: ANN401
    return [NodeMatcher(node_id=StringMatcher(**how))]


async def fetch(server: XdsServer, **fields: Any) -> ClientStatusResponse:  # noqa: ANN401
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        method: Any = channel.unary_unary(f"/{SERVICE}/FetchClientStatus")  # type: ignore[call-arg]
        raw = await method(ClientStatusRequest(**fields).SerializeToString(), timeout=20.0)
    return ClientStatusResponse.FromString(raw)


async def refused(server: XdsServer, **fields: Any) -> tuple[grpc.StatusCode, str]:  # noqa: ANN401
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fetch(server, **fields)
    return caught.value.code(), caught.value.details() or ""


@contextlib.asynccontextmanager
async def client(
    server: XdsServer, node_id: str, type_url: str, *names: str, path: str = EDS
) -> AsyncIterator[Any]:
    """A stream that asked for these names and took the answer."""
    node = NodeMessage(id=node_id, cluster="edge")
    node.metadata["team"] = "search"
    node.locality.zone = "z1"
    async with stream(server, path) as call:
        fields: dict[str, Any] = {"type_url": type_url, "resource_names": names}
        await ask(call, node=node, **fields)
        first = await answer(call)
        before = server.counts.of("edge", type_url).acks
        await ask(call, response_nonce=first.nonce, **fields)
        await until(lambda: server.counts.of("edge", type_url).acks > before)
        yield call


def cache(**bodies: bytes) -> SnapshotCache:
    made = SnapshotCache()
    made.set("edge", {ENDPOINT: bodies or {"a": b"1"}, SECRET: {"cert": SECRET_BODY}, CLUSTER: {}})
    return made


async def test_clients_are_told_of_by_their_ids_and_all_when_nobody_is_named() -> None:
    async with serving(cache()) as server:
        assert not (await fetch(server)).config
        async with client(server, "b", ENDPOINT, "a"), client(server, "a", ENDPOINT, "a"):
            found = (await fetch(server)).config
            assert [one.node.id for one in found] == ["a", "b"]
            assert found[0].node.metadata["team"] == "search"
            assert found[0].node.locality.zone == "z1"
            for how, wanted in (
                ({"exact": "b"}, ["b"]),
                ({"exact": "B"}, []),
                ({"exact": "B", "ignore_case": True}, ["b"]),
                ({"prefix": "a"}, ["a"]),
                ({"suffix": "b"}, ["b"]),
                ({"contains": ""}, ["a", "b"]),
            ):
                found = (await fetch(server, node_matchers=matchers(**how))).config
                assert [one.node.id for one in found] == wanted, how
            either = [*matchers(exact="a"), *matchers(exact="b")]
            assert len((await fetch(server, node_matchers=either)).config) == 2


async def test_streams_of_one_client_are_one_client() -> None:
    async with (
        serving(cache()) as server,
        client(server, "a", ENDPOINT, "a"),
        client(server, "a", SECRET, "cert", path=SDS),
    ):
        (found,) = (await fetch(server)).config
        assert {(one.type_url, one.name) for one in found.generic_xds_configs} == {
            (ENDPOINT, "a"),
            (SECRET, "cert"),
        }


async def test_a_secret_is_told_of_without_what_it_holds_also_when_it_is_refused() -> None:
    served = cache()
    async with serving(served) as server, client(server, "a", SECRET, "cert", path=SDS) as call:
        (found,) = (await fetch(server)).config
        (one,) = found.generic_xds_configs
        assert (one.name, one.client_status) == ("cert", ClientResourceStatus.ACKED)
        assert one.version_info
        assert not one.HasField("xds_config")
        served.set("edge", {SECRET: {"cert": SECRET_BODY + b"2"}})
        second = await answer(call)
        await call.write(
            DiscoveryRequest(
                type_url=SECRET,
                resource_names=["cert"],
                response_nonce=second.nonce,
                error_detail=Status(code=3, message="no such key"),
            ).SerializeToString()
        )
        await until(lambda: server.counts.of("edge", SECRET).nacks == 1)
        answered = await fetch(server)
        (one,) = answered.config[0].generic_xds_configs
        assert one.config_status == ConfigStatus.ERROR
        assert one.error_state.details.startswith("withheld")
        assert not one.error_state.HasField("failed_configuration")
        assert b"the secret" not in answered.SerializeToString()


async def test_what_does_not_exist_was_not_sent_and_is_requested() -> None:
    async with serving(cache()) as server, client(server, "a", ENDPOINT, "a", "gone"):
        found = {one.name: one for one in (await fetch(server)).config[0].generic_xds_configs}
        assert found["a"].config_status == ConfigStatus.SYNCED
        assert found["gone"].config_status == ConfigStatus.NOT_SENT
        assert found["gone"].client_status == ClientResourceStatus.REQUESTED


async def test_a_stream_is_answered_each_time_it_asks() -> None:
    async with (
        serving(cache()) as server,
        client(server, "a", ENDPOINT, "a"),
        stream(server, f"/{SERVICE}/StreamClientStatus") as asking,
    ):
        for excluded in (True, False, True):
            request = ClientStatusRequest(exclude_resource_contents=excluded)
            await asking.write(request.SerializeToString())
            found = ClientStatusResponse.FromString(await asking.read())
            (one,) = found.config[0].generic_xds_configs
            assert one.HasField("xds_config") is not excluded
        await asking.write(b"\xff\xff")
        assert await asking.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_matchers_that_are_not_served_are_refused_in_words() -> None:
    async with serving(cache()) as server:
        for wanted, words in (
            (matchers(safe_regex=RegexMatcher(regex="(a+)+b")), "not by safe_regex"),
            (matchers(), "not by something else or nothing"),
            ([NodeMatcher(node_metadatas=[StructMatcher()])], "node_metadatas are not served"),
            (matchers(exact="a") * (MAX_MATCHERS + 1), "at most 100"),
        ):
            code, details = await refused(server, node_matchers=wanted)
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert words in details


async def test_an_answer_that_is_too_large_is_refused_with_advice() -> None:
    async with (
        serving(cache(a=b"x" * 3_000_000)) as server,
        client(server, "a", ENDPOINT, "a"),
        client(server, "b", ENDPOINT, "a"),
    ):
        code, details = await refused(server)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "exclude_resource_contents" in details
        assert len((await fetch(server, node_matchers=matchers(exact="a"))).config) == 1
        assert len((await fetch(server, exclude_resource_contents=True)).config) == 2


def told(node_id: str, since_s: float, **types: str) -> Told:
    """One stream with a resource of this name for each type."""
    made = {
        url: ClientConfig(
            generic_xds_configs=[ClientConfig.GenericXdsConfig(type_url=url, name=name)]
        ).SerializeToString()
        for url, name in types.items()
    }
    node = ClientConfig(node=NodeMessage(id=node_id)).SerializeToString()
    return Told(node_id, "edge", since_s, node, made)


def test_streams_of_one_client_in_several_processes_are_joined() -> None:
    parts = [
        told("b", 1.0, eds="old", cds="old"),
        told("a", 2.0, eds="a"),
        told("b", 3.0, eds="new"),
    ]
    raw = joined(parts, 1_000)
    assert raw is not None
    found = ClientStatusResponse.FromString(raw).config
    assert [one.node.id for one in found] == ["a", "b"]
    assert {(one.type_url, one.name) for one in found[1].generic_xds_configs} == {
        ("eds", "new"),
        ("cds", "old"),
    }
    assert joined(parts, len(raw)) == raw
    assert joined(parts, len(raw) - 1) is None


class OnlyA(Gate):
    """Whoever asks may be the node `a` alone."""

    def entitles(self, peer: Peer, node_id: str, cluster: str) -> bool:
        return node_id == "a"


async def test_those_who_ask_are_few_and_see_what_they_may(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        serving(cache()) as inner,
        client(inner, "a", ENDPOINT, "a"),
        client(inner, "b", ENDPOINT, "a"),
    ):
        limits = StatusLimits(streams=1, idle_s=0.2)
        service = ClientStatusService(inner.connections, OnlyA(), limits)
        server = grpc.aio.server(handlers=[service.handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            await few_and_blind(f"127.0.0.1:{port}")
        finally:
            await server.stop(0)
    assert "Unexpected" not in caplog.text  # what grpc.aio says of a handler that fails


async def few_and_blind(address: str) -> None:
    request = ClientStatusRequest().SerializeToString()
    async with grpc.aio.insecure_channel(address) as channel:
        path = f"/{SERVICE}/StreamClientStatus"
        first: Any = channel.stream_stream(path)(timeout=20.0)  # type: ignore[call-arg]
        await first.write(request)
        found = ClientStatusResponse.FromString(await first.read())
        assert [one.node.id for one in found.config] == ["a"]
        second: Any = channel.stream_stream(path)(timeout=20.0)  # type: ignore[call-arg]
        assert await second.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await first.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        third: Any = channel.stream_stream(path)(timeout=20.0)  # type: ignore[call-arg]
        await third.write(request)
        assert await third.read() is not grpc.aio.EOF  # type: ignore[attr-defined]
        third.cancel()


class ByToken(Gate):
    """Whoever asks is who his token says, until the time that it says."""

    def __init__(self) -> None:
        super().__init__(wall_clock=lambda: 1_000.0)

    def peer(self, context: Any) -> Peer:  # noqa: ANN401
        name, _, expires = dict(context.invocation_metadata())["authorization"].partition(" ")
        return Peer((), name, float(expires))


@contextlib.asynccontextmanager
async def asked_with_tokens(**limits: Any) -> AsyncIterator[Callable[[str], Any]]:  # noqa: ANN401
    """Opens streams of who shows such a token."""
    service = ClientStatusService(lambda: [], ByToken(), StatusLimits(**limits))
    server = grpc.aio.server(handlers=[service.handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            made: Any = channel.stream_stream(f"/{SERVICE}/StreamClientStatus")  # type: ignore[call-arg]
            yield lambda token: made(timeout=20.0, metadata=(("authorization", token),))
    finally:
        await server.stop(0)


async def answers(call: Any) -> bool:  # noqa: ANN401
    await call.write(ClientStatusRequest().SerializeToString())
    return await call.read() is not grpc.aio.EOF  # type: ignore[attr-defined]


async def test_one_who_asks_cannot_take_the_places_of_others() -> None:
    async with asked_with_tokens(streams=4, streams_per_identity=2) as opened:
        mine = [opened("a 2000") for _ in range(2)]
        assert [await answers(one) for one in mine] == [True, True]
        third = opened("a 2000")
        assert await third.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await third.details() == "a has 2 streams open, and may have 2"
        assert await answers(opened("b 2000"))


async def test_who_asks_is_answered_until_his_token_expires() -> None:
    async with asked_with_tokens() as opened:
        call = opened("a 1000")
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "expired" in await call.details()


class Nobody(Gate):
    """Knows nobody."""

    def peer(self, context: object) -> Peer:
        raise DeniedError("UNAUTHENTICATED", "unauthenticated", "no token came")


async def test_who_is_not_known_is_told_nothing_and_takes_nobodys_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(cache()) as inner:
        service = ClientStatusService(inner.connections, Nobody(), StatusLimits(streams=1))
        server = grpc.aio.server(handlers=[service.handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for _ in range(3):
                    made: Any = channel
                    call = made.stream_stream(f"/{SERVICE}/StreamClientStatus")(timeout=20.0)
                    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        finally:
            await server.stop(0)
    assert "Unexpected" not in caplog.text


@pytest.mark.parametrize("path", [SDS, ADS])
async def test_what_a_client_quotes_of_a_secret_is_neither_kept_nor_told(path: str) -> None:
    events: list[Event] = []
    async with (
        serving(cache(), observer=events.append) as server,
        client(server, "a", SECRET, "cert", path=path) as call,
    ):
        node = NodeMessage(id="b", cluster="edge")
        async with stream(server, path) as other:
            await ask(other, type_url=SECRET, resource_names=["cert"], node=node)
            got = await answer(other)
            error = Status(code=3, message='private_key { inline_string: "the secret" }')
            fields: dict[str, Any] = {"type_url": SECRET, "resource_names": ["cert"]}
            await ask(other, response_nonce=got.nonce, error_detail=error, **fields)
            await until(lambda: server.counts.of("edge", SECRET).nacks == 1)
            told = str(await fetch(server)) + repr(server.clients()) + repr(events)
            assert "withheld" in told
            assert "the secret" not in told
        assert call


async def test_a_long_refusal_is_cut() -> None:
    async with serving(cache()) as server, stream(server) as call:
        fields: dict[str, Any] = {"type_url": ENDPOINT, "resource_names": ["a"]}
        await ask(call, node=NodeMessage(id="b", cluster="edge"), **fields)
        got = await answer(call)
        error = Status(code=3, message="x" * 1_000_000)
        await ask(call, response_nonce=got.nonce, error_detail=error, **fields)
        await until(lambda: server.counts.of("edge", ENDPOINT).nacks == 1)
        (one,) = server.clients()
        assert len(one.types[0].nack) == 4096
