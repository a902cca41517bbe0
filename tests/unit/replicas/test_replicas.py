"""One decides, the other follows: on real sockets, with certificates made here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from controlplane.errors import TelemetryError
from controlplane.model import Leader, Proxy, ProxyId, ServiceName
from controlplane.replicas import follower, replicas, server
from controlplane.replicas import messages as m
from controlplane.replicas.messages import Fleet
from controlplane.replicas.replicas import Role
from controlplane.replicas.server import METHOD, SERVICE
from controlplane.store import Switched
from tests.certificates import Authority, Issued
from tests.unit.replicas.scene import (
    CA,
    DEADLINE_S,
    FLEET,
    NAME,
    VERSIONS,
    Replica,
    envoys,
    files,
    handover,
    replica,
    until,
)

ENVOY = Proxy(ProxyId("envoy-1"), FLEET, 4)
CART, WEB = ServiceName("default/cart"), ServiceName("default/web")
Status = grpc.StatusCode


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[Replica, Replica]]:
    """One decides in epoch 1, and the other follows it."""
    async with replica("a") as a, replica("b") as b:
        a.table.put(handover("default/cart"), handover("default/web"))
        b.elected.leader = a.leads(1)
        await until(lambda: b.replicas.role is Role.FOLLOWS)
        yield a, b


async def test_what_is_in_force_there_is_in_force_here() -> None:
    async with pair() as (a, b):
        assert a.replicas.role is Role.DECIDES
        assert b.table.followed[0] == ([CART, WEB], True)
        assert b.table.held[CART].last.weights == a.table.held[CART].last.weights
        assert b.percents[0] == 12.5
        assert b.replicas.why_not == "another replica decides: a"
        a.table.put(handover("default/cart", (0.5, 0.5)))
        a.replicas.changed([CART])
        await until(lambda: bool(b.table.held[CART].last.shares[0] == 0.5))
        assert b.table.followed[-1] == ([CART], False)
        assert b.value("weir_replica_role", role="follows") == 1.0
        assert a.value("weir_replica_followers") == 1.0


async def test_everything_is_told_in_parts_and_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PART", 1000)
    monkeypatch.setattr(server, "TELL_S", 0.02)
    monkeypatch.setattr(server, "REFRESH_S", 0.1)
    async with pair() as (a, b):
        assert b.table.followed[0] == ([CART, WEB], True)  # in force at once, when it is whole
        a.table.put(handover("default/web", (0.5, 0.5)))  # nobody says that it changed
        await until(lambda: bool(b.table.held[WEB].last.shares[0] == 0.5))


async def test_what_envoys_report_here_is_counted_there() -> None:
    async with pair() as (a, b):
        b.replicas.reports.on_access_logs(ENVOY, b"")
        b.replicas.reports.on_load_report(ENVOY, b"", first=True)
        await until(lambda: bool(a.reports.loads))
        assert a.reports.logs == [(ENVOY, b"")]
        assert a.reports.loads == [(ENVOY, b"", True)]
        assert b.reports == type(b.reports)()  # once, so that all replicas' metrics add up
        with pytest.raises(TelemetryError):
            b.replicas.reports.on_access_logs(ENVOY, b"\xff")
        a.replicas.reports.on_access_logs(ENVOY, b"")  # its own
        assert len(a.reports.logs) == 2


async def test_more_than_may_wait_is_counted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "MOST_WAITING", -1)
    async with pair() as (a, b):
        b.replicas.reports.on_access_logs(ENVOY, b"")
        assert b.reports.logs == [(ENVOY, b"")]
        assert b.value("weir_replica_kept_reports_total") == 1.0
        assert a.reports.logs == []


async def test_where_envoys_stand_is_known_there_until_they_are_told_to_go() -> None:
    async with replica("a") as a:
        leader = a.leads(1)
        async with replica("b") as b:
            b.fleets[FLEET] = Fleet(dict(VERSIONS), envoys(one=True, two=False))
            b.elected.leader = leader
            await until(lambda: len(a.replicas.elsewhere(FLEET).envoys) == 2)
            assert a.replicas.elsewhere(FLEET).waits == ""
            assert a.replicas.described()["followers"] == ["b"]
        assert a.replicas.elsewhere(FLEET).envoys == ()  # it said goodbye


async def test_of_an_earlier_epoch_nothing_is_taken() -> None:
    async with replica("a") as a, replica("b") as b:
        a.table.put(handover())
        leader = a.leads(4)
        b.elected.leader = Leader("c", 5)  # which says nowhere where it is
        await until(lambda: "does not say" in str(b.replicas.why_not))
        b.replicas._follower.know(5)
        b.elected.leader = Leader(leader.identity, 5, leader.address)
        await until(lambda: "epoch 5 is known there" in str(b.replicas.why_not))
        assert b.table.followed == []
        assert a.value("weir_replica_streams_ended_total", reason="epoch") >= 1.0


async def test_a_message_of_an_earlier_epoch_ends_the_stream() -> None:
    async with pair() as (a, b):
        before = len(b.table.followed)
        b.replicas._follower.know(2)  # the Lease says so already, and `a` does not know yet
        a.replicas.changed([CART])
        await until(lambda: "epoch 1, when 2 has begun" in str(b.replicas.why_not))
        assert len(b.table.followed) == before


async def test_whoever_loses_the_lease_is_followed_no_more() -> None:
    async with pair() as (a, b):
        a.elected.decides = False
        assert a.replicas.role is Role.HOLDS
        a.replicas._server.changed([CART])
        await until(lambda: b.replicas.role is Role.HOLDS)
        assert "does not decide" in str(b.replicas.why_not)
        assert b.table.holds >= 1
        assert b.table.held.keys() == {CART, WEB}  # what it has it serves
        b.replicas.reports.on_access_logs(ENVOY, b"")
        assert b.reports.logs == [(ENVOY, b"")]


async def test_whoever_decides_and_says_nothing_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "TELL_S", 60.0)
    monkeypatch.setattr(follower, "SILENT_S", 0.2)
    async with pair() as (_, b):
        await until(lambda: b.replicas.role is Role.HOLDS)
        assert "nothing is said within 0.2 s" in str(b.replicas.why_not)
        await until(lambda: b.replicas.role is Role.FOLLOWS)  # it is tried again


async def test_whoever_takes_over_gathers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "GATHER_S", 0.3)
    async with pair() as (a, b):
        await until(lambda: b.replicas._follower.followers == ("b",))
        b.replicas._follower.followers = ("b", "c")
        a.elected.decides = False
        a.elected.leader = b.leads(2)
        await until(lambda: b.replicas.role is Role.GATHERS)
        assert not b.replicas.decides
        assert "replica c has not said yet" in b.replicas.elsewhere(FLEET).waits
        await until(lambda: a.replicas.role is Role.FOLLOWS)
        await until(lambda: b.replicas.decides)
        assert a.replicas.described()["epoch"] == 2
        np.testing.assert_array_equal(
            a.table.held[CART].last.shares, b.table.held[CART].last.shares
        )


async def test_a_start_waits_to_hear_what_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "UNKNOWN_S", 0.2)
    monkeypatch.setattr(replicas, "FIRST_S", 0.5)

    async def waited_s(of: Replica) -> float:
        began_s = time.monotonic()
        await of.replicas.settled()
        return time.monotonic() - began_s

    async with replica("nobody decides") as b:
        assert await waited_s(b) >= 0.1
    async with replica("an older release decides") as b:
        b.elected.leader = Leader("a", 1)
        await b.replicas.settled()
        assert "does not say where" in str(b.replicas.why_not)
    async with replica("who decides is not there") as b:
        b.elected.leader = Leader("a", 1, "127.0.0.1:1")
        assert await waited_s(b) >= 0.4
    async with pair() as (_, b):
        await b.replicas.settled()
        assert b.table.held.keys() == {CART, WEB}


async def test_what_a_person_froze_at_any_replica_is_frozen_and_stays_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "ROLL_S", 0.05)
    monkeypatch.setattr(server, "TELL_S", 0.05)
    async with pair() as (a, b):
        b.switch[0] = Switched(None, {WEB: "slow (by kim)"})
        await until(lambda: a.replicas.frozen.why(WEB) == "slow (by kim), at replica b")
        b.switch[0] = Switched()
        await until(lambda: a.replicas.frozen == Switched(None, {}))
        a.switch[0] = Switched("look into it (by kim)")
        await until(lambda: b.replicas.frozen.all == "look into it (by kim), at replica a")
        a.elected.decides = False  # and is gone
        b.leads(2)
        await until(lambda: b.replicas.role is Role.GATHERS)
        assert [one.all for one in b.inherited] == ["look into it (by kim), at replica a"]
        assert b.replicas.frozen == Switched(None, {})


@contextlib.asynccontextmanager
async def stream(
    of: Replica, issued: Issued | None = None, ca: Authority = CA
) -> AsyncIterator[Any]:
    """Somebody who speaks gRPC."""
    address = f"127.0.0.1:{of.replicas.port}"
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
    if issued is None:
        channel: Any = grpc.aio.insecure_channel(address, options=options)
    else:
        credentials = grpc.ssl_channel_credentials(ca.pem, issued.key, issued.certificate)
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    async with channel:
        yield channel.stream_stream(f"/{SERVICE}/{METHOD}")(timeout=DEADLINE_S)


async def how_it_ends(call: Any, *messages: bytes) -> tuple[Status, str]:  # noqa: ANN401
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for message in messages:
            await call.write(message)
        while await call.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
            pass
    return await call.code(), await call.details()


HELLO = m.encoded(m.Hello(m.PROTOCOL, "stranger", 1))


@pytest.mark.parametrize(
    ("messages", "code", "words"),
    [
        ([m.encoded(m.Hello(m.PROTOCOL + 1, "b", 1))], Status.FAILED_PRECONDITION, "protocol"),
        ([m.encoded(m.Hello(m.PROTOCOL, "b", 2))], Status.FAILED_PRECONDITION, "epoch 2"),
        ([m.encoded(m.Hello(m.PROTOCOL, "", 1))], Status.INVALID_ARGUMENT, "greeting"),
        ([m.encoded(m.Roll({}))], Status.INVALID_ARGUMENT, "greeting"),
        ([b"\xff"], Status.INVALID_ARGUMENT, "no message"),
        ([HELLO, HELLO], Status.INVALID_ARGUMENT, "second greeting"),
        ([HELLO, b"\xff"], Status.INVALID_ARGUMENT, "no message"),
        ([HELLO], Status.DEADLINE_EXCEEDED, "nothing was said for"),
        ([], Status.DEADLINE_EXCEEDED, "nothing was said for"),
        ([HELLO, b"\0" * (m.MOST_BYTES + 1)], Status.RESOURCE_EXHAUSTED, "larger than max"),
    ],
    ids=["protocol", "epoch", "nameless", "roll", "garbage", "twice", "later", "silent", "mute",
         "oversized"],
)  # fmt: skip
async def test_who_does_not_keep_to_the_protocol_is_ended(
    messages: list[bytes], code: Status, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code is Status.DEADLINE_EXCEEDED:
        monkeypatch.setattr(server, "SILENT_S", 0.2)
        monkeypatch.setattr(server, "HELLO_S", 0.2)
    async with replica("a") as a:
        a.leads(1)
        async with stream(a) as call:
            found = await how_it_ends(call, *messages)
        assert found[0] is code
        assert words in found[1]
        assert a.replicas.described()["followers"] == []


async def test_a_newer_stream_of_a_replica_ends_the_older() -> None:
    async with replica("a") as a:
        a.leads(1)
        async with stream(a) as older, stream(a) as newer:
            await older.write(HELLO)
            await older.read()
            await newer.write(HELLO)
            await newer.read()
            a.replicas.changed([CART])
            assert (await how_it_ends(older))[0] is Status.ABORTED
            assert not newer.done()


async def test_who_does_not_decide_is_not_followed() -> None:
    async with replica("a") as a, stream(a) as call:
        assert await how_it_ends(call, HELLO) == (
            Status.FAILED_PRECONDITION,
            "this replica does not decide",
        )


async def test_a_state_that_cannot_be_read_is_left_out() -> None:
    async with replica("a") as a, replica("b") as b:
        broken = handover("default/web")
        object.__setattr__(broken.last, "weights", type(broken.last.weights)((1,)))
        a.table.put(handover("default/cart"), broken)
        b.elected.leader = a.leads(1)
        await until(lambda: b.replicas.role is Role.FOLLOWS)
        assert b.table.held.keys() == {CART}


async def test_replicas_prove_who_they_are(tmp_path: Path) -> None:
    own = CA.issue(dns=[NAME, "weir"])
    async with (
        replica("a", files(tmp_path / "a", own)) as a,
        replica("b", files(tmp_path / "b", CA.issue(dns=["x", NAME]))) as b,
    ):
        a.table.put(handover())
        b.elected.leader = a.leads(1)
        await until(lambda: b.replicas.role is Role.FOLLOWS)
        # An Envoy's certificate is of the same CA.
        for stranger in (CA.issue(dns=["envoy"]), CA.issue(uris=[f"spiffe://{NAME}"]), CA.issue()):
            async with stream(a, stranger) as call:
                code, words = await how_it_ends(call, HELLO)
            assert code is Status.PERMISSION_DENIED
            assert "is no replica" in words
        async with stream(a, Authority("other").issue(dns=[NAME])) as call:
            assert (await how_it_ends(call, HELLO))[0] is Status.UNAVAILABLE
        async with stream(a) as call:
            assert (await how_it_ends(call, HELLO))[0] is Status.UNAVAILABLE
        assert a.replicas.described()["followers"] == ["b"]


async def test_nobody_follows_what_has_the_certificate_of_an_envoy(tmp_path: Path) -> None:
    async with (
        replica("a", files(tmp_path / "a", CA.issue(dns=["envoy"]))) as a,
        replica("b", files(tmp_path / "b", CA.issue(dns=[NAME]))) as b,
    ):
        b.elected.leader = a.leads(1)
        await until(lambda: "UNAVAILABLE" in str(b.replicas.why_not))
        assert b.table.followed == []
