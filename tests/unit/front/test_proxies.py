"""What the admin address tells of Envoys: one document an Envoy, and no secret in it."""

from __future__ import annotations

import base64
from io import StringIO
from typing import Any, get_args

import pytest
from rich.console import Console

from controlplane._pb.base_pb2 import Node as NodeMessage
from controlplane._pb.base_pb2 import Status
from controlplane._pb.discovery_pb2 import DiscoveryRequest
from controlplane.cli.status import show_all, show_one
from controlplane.front.proxies import (
    Clock,
    Side,
    TooLargeError,
    joined,
    proxies,
    proxy,
    resources,
)
from controlplane.model import OVERLAY
from controlplane.xds.kinds import CLUSTER, ENDPOINT, SECRET
from tests.unit.xds.test_csds import SDS, SECRET_BODY, cache, client
from tests.unit.xds.test_server import EDS, answer, ask, serving, stream, until

CLOCK = Clock(monotonic_s=lambda: 100.0, wall_s=lambda: 1_700_000_000.0)


def test_times_of_the_monotonic_clock_are_told_as_times_of_day() -> None:
    assert CLOCK.at(None) is None
    assert CLOCK.at(98.5) == "2023-11-14T22:13:18.500+00:00"
    assert CLOCK.age(98.5) == 1.5


async def test_an_envoy_with_a_stream_for_each_type_is_one() -> None:
    async with (
        serving(cache()) as server,
        client(server, "b", ENDPOINT, "a"),
        client(server, "a", ENDPOINT, "a"),
        client(server, "a", SECRET, "cert", path=SDS),
    ):
        found = proxies(server.connections(), Clock())
        assert [one["node"] for one in found] == ["a", "b"]
        assert (found[0]["streams"], found[0]["fleet"]) == (2, "edge")
        assert found[0]["types"].keys() == {"eds", "sds"}
        assert proxy(server.connections(), "nobody", Clock()) is None
        assert resources(server.connections(), "nobody", "acked") is None


async def test_of_two_streams_with_the_same_type_the_newer_counts() -> None:
    async with (
        serving(cache()) as server,
        client(server, "a", ENDPOINT, "a", "gone"),
        client(server, "a", ENDPOINT, "a"),
    ):
        found = proxy(server.connections(), "a", Clock())
        assert found is not None
        assert (found["streams"], found["types"]["eds"]["names"]) == (2, 1)
        document = resources(server.connections(), "a", "intended")
        assert document is not None
        assert document["types"]["eds"]["names"] == ["a"]


async def test_a_refusal_is_told_while_it_lasts_and_remembered_after() -> None:
    served = cache()
    async with serving(served) as server, client(server, "a", ENDPOINT, "a") as call:

        def eds() -> dict[str, Any]:
            found = proxy(server.connections(), "a", Clock())
            assert found is not None
            return dict(found["types"]["eds"])

        before = eds()
        assert (before["state"], before["why"], before["last_nack"]) == ("SYNCED", "", None)
        assert before["since"] == before["acked_at"] >= before["sent_at"]
        served.set("edge", {ENDPOINT: {"a": b"2"}})
        second = await answer(call)
        waiting = eds()
        assert (waiting["state"], waiting["why"]) == ("STALE", "no answer yet")
        assert waiting["pending_since"] == waiting["sent_at"]
        asked: dict[str, Any] = {"type_url": ENDPOINT, "resource_names": ["a"]}
        await call.write(
            DiscoveryRequest(
                response_nonce=second.nonce, error_detail=Status(message="no"), **asked
            ).SerializeToString()
        )
        await until(lambda: eds()["nacked"] == "no")
        refused = eds()
        assert (refused["state"], refused["why"]) == ("STALE", "refused")
        assert refused["last_nack"]["version"] == refused["intended"] == second.version_info
        assert refused["since"] == refused["last_nack"]["at"]
        assert (refused["acked"], refused["pending_since"]) == (before["acked"], None)
        document = resources(server.connections(), "a", "acked")
        assert document is not None
        (one,) = document["types"]["eds"]["resources"]
        assert (base64.b64decode(one["body"]), one["state"]) == (b"1", "refused")
        served.set("edge", {ENDPOINT: {"a": b"3"}})
        third = await answer(call)
        await call.write(DiscoveryRequest(response_nonce=third.nonce, **asked).SerializeToString())
        await until(lambda: eds()["state"] == "SYNCED")
        assert (eds()["nacked"], eds()["last_nack"]) == ("", refused["last_nack"])


async def test_secrets_are_withheld_from_every_side() -> None:
    key = b"-----BEGIN PRIVATE KEY-----"
    async with (
        serving(cache(a=key, b=b"plain")) as server,
        client(server, "a", SECRET, "cert", path=SDS),
        client(server, "a", ENDPOINT, "a", "b"),
    ):
        for side in get_args(Side):
            document = resources(server.connections(), "a", side)
            assert document is not None
            (cert,) = document["types"]["sds"]["resources"]
            assert (cert["name"], "body" in cert) == ("cert", False)
            assert cert["withheld"] == "it is, or carries, a secret"
            one, other = document["types"]["eds"]["resources"]
            assert ("body" in one, base64.b64decode(other["body"])) == (False, b"plain")
            for secret in (SECRET_BODY, key):
                assert base64.b64encode(secret).decode() not in str(document)


async def test_a_document_is_bounded_and_may_be_of_one_type() -> None:
    async with (
        serving(cache(a=b"x" * 1000)) as server,
        client(server, "a", SECRET, "cert", path=SDS),
        client(server, "a", ENDPOINT, "a"),
    ):
        document = resources(server.connections(), "a", "acked", only="sds", most_bytes=999)
        assert document is not None
        assert document["types"].keys() == {"sds"}
        assert resources(server.connections(), "a", "acked", most_bytes=1000) is not None
        with pytest.raises(TooLargeError, match="more than 999 bytes of resources; ask for one"):
            resources(server.connections(), "a", "acked", most_bytes=999)


async def test_envoys_of_one_id_in_two_fleets_are_two() -> None:
    served = cache()
    served.set("other", {ENDPOINT: {"a": b"other"}})
    async with (
        serving(served, node_group=lambda node: node.cluster) as server,
        client(server, "a", ENDPOINT, "a"),
        stream(server, EDS) as other,
    ):
        node = NodeMessage(id="a", cluster="other")
        await ask(other, node=node, type_url=ENDPOINT, resource_names=["a"])
        await answer(other)
        found = proxies(server.connections(), Clock())
        assert [(one["node"], one["fleet"]) for one in found] == [("a", "edge"), ("a", "other")]
        newest = proxy(server.connections(), "a", Clock())
        assert newest is not None
        assert (newest["fleet"], newest["also_in"]) == ("other", ["edge"])
        document = resources(server.connections(), "a", "intended")
        assert document is not None
        assert document["fleet"] == "other"
        both = joined([found, [{**found[0], "connected_s": 1e9}]])
        assert [(one["fleet"], one["streams"]) for one in both] == [("edge", 2), ("other", 1)]


async def test_an_envoy_of_no_gateway_is_told_why_it_gets_endpoints_alone() -> None:
    served = cache()
    served.set(OVERLAY, {ENDPOINT: {"a": b"1"}})
    async with (
        serving(served, node_group=lambda _: OVERLAY) as server,
        stream(server) as call,
    ):
        await ask(call, node=NodeMessage(id="a", cluster="mistyped"), type_url=CLUSTER)
        await until(lambda: bool(server.clients()))
        found = proxy(server.connections(), "a", Clock())
        assert found is not None
        assert found["types"]["cds"]["state"] == "NOT SENT"
        assert "node.cluster" in found["types"]["cds"]["why"]


async def test_where_an_envoy_is_is_told_to_machines_and_people() -> None:
    async with serving(cache()) as server, client(server, "a", ENDPOINT, "a"):
        document = proxy(server.connections(), "a", Clock())
        assert document is not None
        assert document["place"] == ":z1"  # its zone, and it says no region
        for told, wanted in ((document, ":z1"), ({**document, "place": ""}, "")):
            out = StringIO()
            show_all([told], Console(file=out, width=200))
            show_one(told, Console(file=out, width=200))
            assert ("PLACE" in out.getvalue()) is bool(wanted)
            assert (" in :z1: " in out.getvalue()) is bool(wanted)
