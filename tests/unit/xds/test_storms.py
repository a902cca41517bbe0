"""What hostile or broken clients get from the server, and what they cannot do to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from typing import Any

import grpc
import pytest

from controlplane._pb.base_pb2 import Node as NodeMessage
from controlplane._pb.discovery_pb2 import DiscoveryRequest
from controlplane.xds import Limits, SnapshotCache, XdsServer
from controlplane.xds.connection import Connection
from controlplane.xds.envelope import GarbageError
from controlplane.xds.kinds import CLUSTER, ENDPOINT
from tests.unit.xds.test_server import (
    ADS,
    NODE,
    answer,
    ask,
    filled,
    http2_request,
    serving,
    stream,
    until,
)


async def test_a_stream_that_is_ended_during_its_first_response_gets_its_status() -> None:
    cache = SnapshotCache()
    cache.set("edge", {CLUSTER: {"a": b"x" * 1000}})
    async with serving(cache) as server, stream(server) as call:
        await ask(call, type_url=CLUSTER, node=NODE)
        await call.write(b"\xff\xff\xff\xff")
        await answer(call)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_ended_a_stream_does_not_keep_what_was_in_it() -> None:
    """Not until the garbage collector comes by, which may be gigabytes later."""
    async with serving(filled()) as server:
        gc.collect()
        before = len(of_streams())  # tests that failed keep what they had
        gc.disable()
        try:
            for begun in (False, True):
                async with stream(server) as call:
                    if begun:
                        await ask(call, type_url=CLUSTER, node=NODE)
                        await answer(call)
                    await call.write(b"\xff" * 1000)
                    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
                await until(lambda: not server.clients())
            await until(lambda: len(of_streams()) <= before)
        finally:
            gc.enable()


def of_streams() -> list[object]:
    return [one for one in gc.get_objects() if type(one) in (Connection, GarbageError)]


async def test_a_number_that_json_does_not_have_is_an_invalid_argument() -> None:
    node = NodeMessage(id="envoy-1", cluster="edge")
    node.metadata["load"] = float("inf")
    async with serving(filled()) as server, stream(server) as call:
        await ask(call, type_url=CLUSTER, node=node)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "node.metadata" in await call.details()


@pytest.mark.parametrize(
    "fields",
    [
        {"resource_names": ["x" * 5000]},
        {"type_url": "x" * 5000},
        {"node": NodeMessage(id="x" * 5000, cluster="edge")},
        {"node": NodeMessage(id="envoy-1", cluster="x" * 5000)},
    ],
)
async def test_names_without_end_are_an_invalid_argument(fields: dict[str, Any]) -> None:
    async with serving(filled()) as server, stream(server) as call:
        await ask(call, **{"type_url": ENDPOINT, "node": NODE, **fields})
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await call.details() == "a name of 5000 characters: at most 4096"


async def test_the_group_in_words_is_bounded() -> None:
    async with serving(filled()) as server, stream(server) as call:
        await ask(call, type_url=ENDPOINT, node=NodeMessage(id="envoy-1", cluster="x" * 4000))
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert len(await call.details()) < 300


async def test_a_stream_that_had_too_much_of_the_time_rests_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(filled()) as server, stream(server) as heavy, stream(server) as other:
        monkeypatch.setattr("controlplane.xds.pace.HEAVY_S", 0.0)
        monkeypatch.setattr("controlplane.xds.pace.AT_ONCE_S", 0.0)
        monkeypatch.setattr("controlplane.xds.pace.REST", 1e9)
        await ask(heavy, type_url=CLUSTER, node=NODE)
        await ask(heavy, type_url=ENDPOINT, resource_names=["a"])
        assert (await answer(heavy)).type_url == CLUSTER
        monkeypatch.undo()
        await ask(other, type_url=CLUSTER, node=NODE)
        await ask(other, type_url=ENDPOINT, resource_names=["a"])
        assert {(await answer(other)).type_url for _ in range(2)} == {CLUSTER, ENDPOINT}
        assert sorted(len(one.types) for one in server.clients()) == [1, 2]


async def test_clients_that_do_not_read_are_closed_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = SnapshotCache()
    cache.set("edge", {ENDPOINT: {"a": b"x" * 10_000_000}})
    closing, all_of_them = set[Connection](), asyncio.Event()

    async def close(one: Connection, code: str, message: str) -> None:
        """As long as it takes where the status cannot be sent."""
        closing.add(one)
        await all_of_them.wait()

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(cache, limits=Limits(write_s=60.0)))
        stack.callback(all_of_them.set)
        monkeypatch.setattr(Connection, "close", close)
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            stack.callback(writer.close)
            writer.write(http2_request(ADS, DiscoveryRequest(type_url=ENDPOINT, node=NODE)))
        await until(lambda: len(_writing(server)) == 3)
        for one in _writing(server):  # late, all of them at the next look
            one.writing_since_s = time.monotonic() - 61.0
        await until(lambda: len(closing) == 3)
        monkeypatch.undo()


def _writing(server: XdsServer) -> list[Connection]:
    return [one for one in server.connections() if one.writing_since_s is not None]


async def test_a_client_that_answers_what_it_cannot_have_read_is_closed() -> None:
    cache = SnapshotCache()
    cache.set("edge", {ENDPOINT: {"a": b"x" * 10_000_000}})
    view = cache.view("edge")
    assert view is not None
    nonce = f"{view[ENDPOINT].version}-{view[ENDPOINT].generation:x}"
    async with serving(cache) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        try:
            first = DiscoveryRequest(type_url=ENDPOINT, node=NODE)
            guesses = [nonce, *(f"{nonce}.{number}" for number in range(1, 100))]
            answers = [DiscoveryRequest(type_url=ENDPOINT, response_nonce=one) for one in guesses]
            asks = [one for each in answers for one in (each, each)]  # an ACK, and a question
            writer.write(http2_request(ADS, first, *asks))
            await until(lambda: server.counts.refused == {"INVALID_ARGUMENT": 1})
            assert server.counts.of("edge", ENDPOINT).pushes == 2
        finally:
            writer.close()
