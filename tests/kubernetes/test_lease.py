"""One holder at a time, and an epoch that only grows: against a server, by a clock of the test."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubernetes import lease
from controlplane.kubernetes.client import Api
from controlplane.kubernetes.cluster import micro_now
from controlplane.kubernetes.documents import Object
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.lease import Lease, Leases, LeaseTimes
from controlplane.model import Leader
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.scene import DEADLINE_S, connected


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def api(api_server: ApiServer, tmp_path: Path) -> AsyncIterator[Api]:
    async with connected(api_server, tmp_path) as made:
        yield made


def replica(
    api: Leases,
    identity: str,
    clock: Clock,
    now: Callable[[], str] = micro_now,
    address: str = "",
    times: LeaseTimes | None = None,
) -> Lease:
    return Lease(
        api,
        namespace="default",
        name="weir-decider",
        identity=identity,
        clock=clock,
        now=now,
        chance=random.Random(1),
        times=times or LeaseTimes(15, 10.0, 2.0),
        address=address,
    )


async def look(lease: Lease) -> None:
    with contextlib.suppress(ApiError):  # as `run` has it
        await lease._look()


async def test_the_first_takes_it_and_keeps_it(api: Api) -> None:
    clock = Clock()
    one, two = replica(api, "one", clock), replica(api, "two", clock)
    for _ in range(30):
        await look(one)
        await look(two)
        assert (one.holds, two.holds) == (True, False)
        assert (one.epoch, two.epoch) == (1, 1)
        assert two.holder in ("one",)
        clock.now_s += 2.0


async def test_whoever_does_not_renew_stops_before_the_next_begins(api: Api) -> None:
    clock = Clock()
    one, two = replica(api, "one", clock), replica(api, "two", clock)
    await look(one)
    took_s = None
    for _ in range(20):  # `one` is gone
        await look(two)
        assert not (one.holds and two.holds)
        if two.holds and took_s is None:
            took_s = clock.now_s
        clock.now_s += 1.0
    assert took_s == 115.0
    assert two.epoch == 2
    await look(one)  # and comes back: it sees that it is over
    assert not one.holds
    assert (one.holder, one.epoch) == ("two", 2)


async def test_clocks_of_the_day_that_differ_and_jump_change_nothing(api: Api) -> None:
    """Renewals are counted from when they were seen, by a clock that only goes forward."""
    clock = Clock()
    days = iter(range(1, 10_000))

    def ahead() -> str:
        return f"2099-01-01T00:00:{next(days) % 60:02}.000000Z"

    def back_and_forth() -> str:
        number = next(days)
        return f"{2000 + 50 * (number % 2)}-01-01T00:00:{number % 60:02}.000000Z"

    one, two = replica(api, "one", clock, ahead), replica(api, "two", clock, back_and_forth)
    for _ in range(20):
        await look(one)
        await look(two)
        assert (one.holds, two.holds) == (True, False)
        clock.now_s += 2.0
    waited = 0
    while not two.holds:  # `one` is gone
        clock.now_s += 1.0
        waited += 1
        await look(two)
        assert not (one.holds and two.holds)
        assert waited < 60
    assert waited == 13  # the last renewal was seen 2 s before


async def test_of_two_that_reach_for_it_one_is_refused(api: Api, api_server: ApiServer) -> None:
    clock = Clock()
    one, two, three = (replica(api, name, clock) for name in ("one", "two", "three"))
    await look(one)
    await look(two)
    await look(three)
    clock.now_s += 16.0
    rule = api_server.faults.conflict(resource="leases.coordination.k8s.io", times=1)
    await look(two)
    await look(three)
    assert rule.met == 1
    assert [each.holds for each in (one, two, three)] == [False, False, True]


async def test_letting_it_go_lets_the_next_begin_at_once(api: Api) -> None:
    clock = Clock()
    one, two = replica(api, "one", clock), replica(api, "two", clock)
    await look(one)
    await look(two)
    await one.release()
    assert not one.holds
    await look(two)
    assert (two.holds, two.epoch) == (True, 2)


async def test_while_the_server_is_gone_the_holder_stops_in_time(
    api: Api, api_server: ApiServer
) -> None:
    clock = Clock()
    one = replica(api, "one", clock)
    await look(one)
    api_server.refuse_connections()
    clock.now_s += 9.9
    await look(one)
    assert one.holds
    clock.now_s += 0.2
    await look(one)
    assert not one.holds
    api_server.accept_connections()
    await look(one)
    assert (one.holds, one.epoch) == (True, 1)


def test_times_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="renew_s"):
        LeaseTimes(10, 10.0, 2.0)


async def test_its_holder_says_where_it_is_reached(api: Api) -> None:
    clock = Clock()
    one = replica(api, "one", clock, address="192.0.2.1:18003")
    two = replica(api, "two", clock)
    assert one.leader is None
    await look(one)
    await look(two)
    assert one.leader == two.leader == Leader("one", 1, "192.0.2.1:18003")
    await one.release()
    await look(two)
    assert two.leader == Leader("two", 2)
    await look(one)
    assert one.leader == Leader("two", 2)  # and not where another was


class Hanging:
    """A server whose every so manieth answer does not come."""

    def __init__(self, api: Api, every: int) -> None:
        self._api, self._every = api, every
        self._asked = 0

    async def get(self, path: str) -> Object:
        self._asked += 1
        if self._asked % self._every == 0:
            await asyncio.Event().wait()
        return await self._api.get(path)

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        return await self._api.create(path, body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        return await self._api.replace(path, body)


async def test_an_answer_that_does_not_come_costs_nobody_the_lease(api: Api) -> None:
    """It is given up while there is time for another look, as client-go has it."""
    times = LeaseTimes()
    assert times.look_s + 2 * times.retry_s < times.renew_s
    clock = Clock()
    brief = LeaseTimes(3, 0.5, 0.1)
    one = replica(Hanging(api, every=3), "one", clock, times=brief)
    async with asyncio.timeout(DEADLINE_S):
        await look(one)
        await look(one)
        with pytest.raises(ApiError, match="no answer"):
            await one._look()
        await look(one)
    assert one.holds


async def test_letting_it_go_is_given_up_where_nobody_answers(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RELEASE_S", 0.05)
    one = replica(Hanging(api, every=2), "one", Clock())
    await look(one)
    async with asyncio.timeout(DEADLINE_S / 4):  # less than a read has
        await one.release()
    assert not one.holds
