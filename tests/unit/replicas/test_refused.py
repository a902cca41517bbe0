"""Last valid versions of what is refused, told down and up: on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest

from controlplane.model import Leader
from controlplane.replicas import follower, refused, replicas, server
from controlplane.replicas import messages as m
from controlplane.replicas.refused import Telling
from controlplane.replicas.replicas import Role
from controlplane.resources.earlier import Earlier
from controlplane.resources.read import MAX_FILE_BYTES
from controlplane.xds.tls import Tls
from tests.unit.replicas.scene import CA, FLEET, NAME, Replica, envoys, files, replica, until

WEB, CART, KEYS = "HTTPRoute/default/web", "HTTPRoute/default/cart", "Secret/default/keys"
ONE, TWO = Earlier(b'{"one":1}', 7), Earlier(b'{"two":2}')


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "ROLL_S", 0.05)
    monkeypatch.setattr(server, "TELL_S", 0.05)


@contextlib.asynccontextmanager
async def pair(
    there: Mapping[str, Earlier], here: Mapping[str, Earlier], folder: Path | None = None
) -> AsyncIterator[tuple[Replica, Replica]]:
    """The one that decides has some of them, and the one that follows others."""
    own: list[Tls | None] = [None, None]
    if folder is not None:
        own = [files(folder / name, CA.issue(dns=[NAME])) for name in "ab"]
    async with replica("a", own[0]) as a, replica("b", own[1]) as b:
        a.shared.offered, b.shared.offered = dict(there), dict(here)
        b.elected.leader = a.leads(1)
        yield a, b


async def test_a_start_is_told_before_it_is_told_what_is_in_force() -> None:
    async with pair({WEB: ONE, CART: TWO}, {}) as (_, b):
        await b.replicas.informed()
        assert b.shared.heard == [({WEB: ONE, CART: TWO}, True)]
        assert b.replicas._settled.is_set()


async def test_whoever_decides_is_told_what_it_has_not_said_and_tells_the_others() -> None:
    async with replica("c") as c, pair({WEB: ONE}, {WEB: TWO, CART: TWO}) as (a, b):
        c.elected.leader = a.elected.leader
        await until(lambda: c.shared.offered.keys() == {WEB, CART})
        assert a.shared.heard == [({CART: TWO}, False)]
        assert all(leads for _, leads in (*b.shared.heard, *c.shared.heard))


async def test_each_is_said_once_on_a_stream_and_when_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refused, "PART", 1)
    async with pair({WEB: ONE, CART: TWO}, {}) as (a, b):
        await until(lambda: b.replicas.role is Role.FOLLOWS)
        a.shared.offered = {WEB: ONE, CART: ONE}
        await until(lambda: len(b.shared.heard) >= 3)
        await asyncio.sleep(0.2)
        assert b.shared.heard == [({WEB: ONE}, True), ({CART: TWO}, True), ({CART: ONE}, True)]
        assert a.shared.heard == []  # it said them itself


async def test_the_largest_documents_go_both_ways() -> None:
    large = Earlier(b"x" * MAX_FILE_BYTES)
    async with pair({WEB: large}, {CART: large}) as (a, b):
        await until(lambda: a.shared.offered == b.shared.offered == {WEB: large, CART: large})
        assert a.value("weir_replica_followers") == 1.0


async def test_where_envoys_stand_is_told_before_it() -> None:
    """By any message of this kind it counts as told, and nothing may be taken for granted."""
    async with pair({}, {WEB: ONE}) as (a, b):
        b.fleets[FLEET] = m.Fleet({}, envoys(one=False))
        await until(lambda: bool(a.shared.heard))
        assert [one.node for one in a.replicas.elsewhere(FLEET).envoys] == ["one"]


async def test_secrets_go_where_both_ends_are_proved_alone(tmp_path: Path) -> None:
    for folder, told in ((tmp_path, {WEB, KEYS}), (None, {WEB})):
        async with pair({WEB: ONE, KEYS: TWO}, {}, folder) as (_, b):
            await b.replicas.informed()
            assert b.shared.offered.keys() == told
        async with pair({}, {WEB: ONE, KEYS: TWO}, folder) as (a, _):
            await until(lambda a=a, told=told: a.shared.offered.keys() == told)  # type: ignore[misc]


async def test_who_takes_over_waits_for_the_others_and_who_is_alone_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replicas, "GATHER_S", 0.4)
    async with replica("the first of all") as a:
        a.leads(1)
        await until(a.replicas._informed.is_set)
        assert a.replicas.decides
    async with replica("new") as a, replica("old") as b:
        b.shared.offered = {WEB: ONE}
        b.elected.leader = a.leads(2)
        await a.replicas.settled()
        assert a.replicas.role is Role.GATHERS
        assert not a.replicas._informed.is_set()
        await a.replicas.informed()
        assert a.shared.offered == {WEB: ONE}


async def test_where_nobody_tells_a_start_waits_once_and_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replicas, "FIRST_S", 0.3)
    monkeypatch.setattr(replicas, "UNKNOWN_S", 0.1)
    async with replica("nobody decides") as b:
        await b.replicas.informed()
        assert "nobody decides" in str(b.replicas.why_not)
    async with replica("who decides is not there") as b:
        b.elected.leader = Leader("a", 1, "127.0.0.1:1")
        await b.replicas.informed()
        await b.replicas.settled()
        async with asyncio.timeout(0):  # it has waited
            await b.replicas.informed()
            await b.replicas.settled()


async def test_what_the_other_end_has_is_not_told_and_not_remembered_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    telling = Telling()
    telling.heard({WEB: ONE})
    assert list(telling.parts({WEB: ONE, CART: TWO})) == [(m.Refused(CART, TWO.document, 0),)]
    assert list(telling.parts({WEB: ONE, CART: TWO})) == []
    monkeypatch.setattr(refused, "MOST_BYTES", 10)
    telling.heard({CART: TWO})
    assert telling._known == {CART: TWO}


class _Told(m.Message, frozen=True, tag="Told"):
    """As releases before this have it."""

    epoch: int
    percent: float
    states: tuple[m.State, ...] = ()
    whole: bool = False
    more: bool = False


class _Roll(m.Message, frozen=True, tag="Roll"):
    fleets: Mapping[str, m.Fleet]
    gone: tuple[str, ...] = ()


def test_an_end_of_an_older_release_reads_the_messages_and_is_read() -> None:
    part = (m.Refused(WEB, ONE.document, 7),)
    told = m.encoded(m.Told(3, 1.0, (), whole=True, more=True, refused=part))
    assert msgspec.msgpack.decode(told, type=_Told) == _Told(3, 1.0, (), True, True)
    assert msgspec.msgpack.decode(m.encoded(m.Roll({}, refused=part)), type=_Roll) == _Roll({})
    assert m.down(m.encoded(_Told(3, 1.0))).refused == ()
    read = m.up(m.encoded(_Roll({})))
    assert isinstance(read, m.Roll)
    assert read.refused == ()
