"""A replica that follows serves the same bytes, and goes on where the other one ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from controlplane.errors import MetricsUnavailableError
from controlplane.following import APART_S, WAIT_S
from controlplane.model import Endpoint, Service, ServiceName, Zone
from controlplane.replicas.states import handover, state
from controlplane.resources import Declared
from controlplane.xds import SnapshotCache
from controlplane.xds.kinds import ENDPOINT
from tests.fakes import service
from tests.unit.test_loop import CART, PlacedSource, Rig, zones_of

pytestmark = pytest.mark.looptime(start=1000.0)


class Pair:
    """One that decides, and one that follows it."""

    def __init__(self) -> None:
        self.leader, self.follower = Rig(), Rig(decides=False)
        self.follower.frozen = "another replica decides"

    async def declare(self, *services: Service) -> None:
        declared = Declared()
        for rig in (self.leader, self.follower):
            await rig.loop.declare(declared, services)

    async def tell(self, names: Iterable[ServiceName] | None = None, *, whole: bool = True) -> None:
        """What is in force there is told here, as it travels."""
        loop = self.leader.loop
        found = [loop.handover(name) for name in names or loop.names()]
        now_s = self.leader.clock()
        told = [state(one, now_s) for one in found if one is not None]
        await self.follower.loop.follow([handover(one, now_s) for one in told], whole=whole)

    def require_same(self) -> None:
        """The same bytes, and with them the same versions."""
        caches = []
        for rig in (self.leader, self.follower):
            caches.append(SnapshotCache())
            caches[-1].publish(rig.sink.published[-1])
        mine, theirs = (rig.sink.published[-1] for rig in (self.leader, self.follower))
        assert mine.resources == theirs.resources
        assert mine.by_place == theirs.by_place
        assert caches[0].versions(mine.fleet) == caches[1].versions(mine.fleet)
        assert caches[0].version(mine.fleet, ENDPOINT)


@pytest.mark.parametrize("of", [CART, service()], ids=["endpoints", "groups"])
async def test_the_same_verdicts_give_the_same_versions(of: Service) -> None:
    pair = Pair()
    await pair.declare(of)
    await pair.tell()
    pushes = len(pair.leader.sink.published)
    for _ in range(20):
        await pair.leader.run(1.0)
        await pair.tell()
        pair.require_same()
    if of is CART:
        assert len(pair.leader.sink.published) > pushes  # there was something to follow
    seen = len(pair.follower.sink.published)
    await pair.tell()
    assert len(pair.follower.sink.published) == seen  # told again, and it is the same


async def test_orders_of_places_are_followed_too() -> None:
    pair, a, b = Pair(), Zone("eu", "a"), Zone("eu", "b")
    source = PlacedSource(pair.leader.clock)
    pair.leader.loop._source = source
    await pair.declare(*zones_of(a, b))
    await pair.tell()
    pair.require_same()
    at_first = pair.follower.sink.published[-1].by_place
    source.requests = {a: 300.0, b: 100.0}
    await pair.leader.run(20.5)
    await pair.tell()
    pair.require_same()
    assert pair.follower.sink.published[-1].by_place != at_first
    seen = len(pair.follower.sink.published)
    await pair.tell()
    assert len(pair.follower.sink.published) == seen


async def test_whoever_takes_over_goes_on_as_the_one_before_would_have() -> None:
    """Both decide from the same moment on, and see the same: they do the same."""
    pair = Pair()
    await pair.declare(CART)
    await pair.leader.run(1.5)
    await pair.tell()
    before = pair.follower.shares().copy()
    np.testing.assert_array_equal(before, pair.leader.shares())
    assert before[0] < 0.35  # on the way
    pair.follower.decides, pair.follower.frozen = True, None
    for _ in range(10):
        await asyncio.gather(pair.leader.run(1.0), pair.follower.run(1.0))
        np.testing.assert_allclose(pair.follower.shares(), pair.leader.shares(), atol=1e-12)
    np.testing.assert_allclose(pair.follower.shares(), [0.4, 0.2, 0.2, 0.2], atol=0.02)


async def test_while_nobody_decides_nothing_moves() -> None:
    pair = Pair()
    await pair.declare(CART)
    await pair.leader.run(1.5)
    await pair.tell()
    pushes = len(pair.follower.sink.published)
    pair.follower.loop.hold()
    await pair.follower.run(60.0)
    assert len(pair.follower.sink.published) == pushes


async def test_whoever_takes_over_without_numbers_moves_nothing_for_as_long_as_anybody() -> None:
    """However long it followed, and saw none."""
    pair = Pair()
    await pair.declare(CART)
    await pair.leader.run(3.5)
    for _ in range(30):
        await asyncio.sleep(10.0)
        await pair.tell()
    before = pair.follower.shares().copy()
    await pair.follower.run(1.0)  # it looks around, and does not decide
    pair.follower.decides, pair.follower.frozen = True, None
    pair.follower.source.failing = MetricsUnavailableError("nobody reports yet")
    await pair.follower.run(CART.guard.freeze_after_s - 1.0)
    np.testing.assert_array_equal(pair.follower.shares(), before)


def with_one_more(of: Service) -> Service:
    return replace(of, endpoints=(*of.endpoints, Endpoint("10.0.9.9", 80)))


@pytest.mark.parametrize("first", ["leader", "follower"])
async def test_endpoints_that_change_do_so_once_whoever_hears_of_it_first(first: str) -> None:
    pair = Pair()
    await pair.declare(CART)
    await pair.tell()
    pushes, declared = len(pair.follower.sink.published), Declared()
    now = with_one_more(CART)
    if first == "leader":
        await pair.leader.loop.declare(declared, [now])
        await pair.tell(whole=False)
        assert len(pair.follower.sink.published) == pushes  # not known here yet
        await pair.follower.loop.declare(declared, [now])
    else:
        declaring = asyncio.create_task(pair.follower.loop.declare(declared, [now]))
        await asyncio.sleep(WAIT_S / 2)
        await pair.leader.loop.declare(declared, [now])
        await pair.tell(whole=False)
        await declaring
    assert len(pair.follower.sink.published) == pushes + 1
    pair.require_same()


async def test_no_verdict_is_waited_for_longer_than_about_a_tick() -> None:
    pair = Pair()
    await pair.declare(CART)
    await pair.tell()
    began_s = pair.follower.clock()
    await pair.follower.loop.declare(Declared(), [with_one_more(CART)])
    assert pair.follower.clock() - began_s == pytest.approx(WAIT_S)
    assert len(pair.follower.shares()) == 5
    pair.follower.loop.hold()
    await pair.follower.loop.declare(Declared(), [CART])
    assert pair.follower.clock() - began_s == pytest.approx(WAIT_S)  # nobody is heard


async def test_where_replicas_never_see_the_same_endpoints_the_split_is_carried_over() -> None:
    pair = Pair()
    await pair.declare(CART)
    await pair.follower.loop.declare(Declared(), [with_one_more(CART)])
    before = pair.follower.shares().copy()
    await pair.leader.run(APART_S)
    await pair.tell()
    await pair.leader.run(APART_S - 0.5)
    await pair.tell(whole=False)
    np.testing.assert_array_equal(pair.follower.shares(), before)  # it may come yet
    await pair.leader.run(1.0)
    await pair.tell(whole=False)
    after, there = pair.follower.shares(), pair.leader.shares()
    np.testing.assert_allclose(after[:4] / after[:4].sum(), there, atol=1e-9)


async def test_a_follower_asks_no_source_and_no_policy() -> None:
    pair = Pair()
    await pair.declare(CART)
    await pair.tell()
    await pair.follower.run(5.5)
    assert pair.follower.source.asked == []


async def test_what_is_handed_over_before_anything_is_declared_waits_for_it() -> None:
    pair = Pair()
    await pair.leader.loop.declare(Declared(), [CART])
    await pair.leader.run(5.5)
    await pair.tell()
    assert pair.follower.sink.published == []  # a replica is not ready by that
    await pair.follower.loop.declare(Declared(), [CART])
    pair.require_same()
    assert len(pair.follower.sink.published) == 1


async def test_what_a_follower_has_in_force_is_saved_before_it_is_sent() -> None:
    pair = Pair()
    await pair.declare(CART)
    await pair.leader.run(5.5)
    await pair.tell()
    saved = pair.follower.store.saved[CART.name]
    np.testing.assert_array_equal(saved.shares, pair.leader.shares())
    assert saved.weights == pair.leader.store.saved[CART.name].weights


async def test_who_listens_is_told_of_what_has_something_else_in_force() -> None:
    pair = Pair()
    await pair.declare(CART)
    assert pair.leader.settled == [{CART.name}]
    await pair.leader.run(1.5)
    assert pair.leader.settled[1:] == [{CART.name}]
