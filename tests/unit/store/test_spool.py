from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from controlplane.errors import StoreError
from controlplane.model import LastGood, ServiceName
from controlplane.ports import StateStore
from controlplane.store import Spool, SqlStateStore
from tests.unit.store.background import running, until
from tests.unit.store.states import assert_same, state

SHOP = ServiceName("default/shop")


class GatedStore:
    """Saves when its gate is open, hangs when it is shut, fails when told to."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.failure = ""
        self.saved: list[list[LastGood]] = []

    async def load(self) -> Mapping[ServiceName, LastGood]:
        return {}

    async def save(self, states: Sequence[LastGood]) -> None:
        await self.gate.wait()
        if self.failure:
            raise StoreError(self.failure)
        self.saved.append(list(states))


def spool_of(store: StateStore, *, most: int = 100, patience_s: float = 0.05) -> Spool:
    return Spool(store, most=most, patience_s=patience_s, retry_s=(0.01, 0.05))


async def test_a_save_returns_when_the_state_is_in_the_real_store(tmp_path: Path) -> None:
    store = SqlStateStore.in_folder(tmp_path)
    spool = spool_of(store, patience_s=20.0)
    async with running(spool):
        await spool.save([state()])
        assert_same((await spool.load())[SHOP], state())
    assert (spool.written, spool.waiting, spool.dropped, spool.failures) == (1, 0, 0, 0)
    await store.close()


async def test_who_stops_waiting_for_a_hanging_store_gets_its_state_saved_later() -> None:
    store = GatedStore()
    spool = spool_of(store)
    async with running(spool):
        with pytest.raises((TimeoutError, StoreError)):
            async with asyncio.timeout(0.01):
                await spool.save([state()])
        store.gate.set()
        await until(lambda: spool.waiting == 0)
    assert [one.service for batch in store.saved for one in batch] == [SHOP]


async def test_nobody_waits_for_a_store_that_is_known_to_hang() -> None:
    store = GatedStore()
    spool = spool_of(store)
    async with running(spool):
        with pytest.raises(StoreError, match="has not answered"):
            await spool.save([state()])
        with pytest.raises(StoreError, match="1 states wait"):  # would hang if it waited
            await spool.save([state()])
        assert spool.failures == 1


async def test_of_a_service_that_waits_only_the_newest_state_is_saved() -> None:
    store = GatedStore()
    spool = spool_of(store)
    async with running(spool):
        for first in (1, 2, 3):
            with contextlib.suppress(StoreError):
                await spool.save([state(first=first)])
        store.gate.set()
        await until(lambda: spool.waiting == 0)
    assert store.saved[-1][0].weights.by_group == (3, 29_997)
    assert len(store.saved) <= 2


async def test_what_finds_no_room_is_dropped_and_counted() -> None:
    spool = spool_of(GatedStore(), most=2)
    async with running(spool):
        for name in ("a", "b", "c", "d", "a"):
            with contextlib.suppress(StoreError):
                await spool.save([state(f"default/{name}")])
    assert spool.waiting == 2
    assert spool.dropped == 2


async def test_a_store_that_fails_is_tried_again_until_it_is_back() -> None:
    store = GatedStore()
    store.failure = "disk is full"
    store.gate.set()
    spool = spool_of(store)
    async with running(spool):
        with pytest.raises(StoreError, match="disk is full"):
            await spool.save([state()])
        await until(lambda: spool.failures >= 3)
        store.failure = ""
        await until(lambda: spool.waiting == 0)
        await spool.save([state(first=5)])
    assert store.saved[-1][0].weights.by_group[0] == 5


async def test_a_flush_at_the_end_waits_for_what_is_waiting_but_not_for_ever() -> None:
    store = GatedStore()
    spool = spool_of(store)
    async with running(spool):
        with contextlib.suppress(StoreError):
            await spool.save([state()])
        await spool.flush(0.02)
        assert spool.waiting == 1
        asyncio.get_running_loop().call_later(0.02, store.gate.set)
        await spool.flush(20.0)
        assert spool.waiting == 0
