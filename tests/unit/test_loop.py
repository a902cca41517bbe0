from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from controlplane.decide import Decider, Policies
from controlplane.errors import MetricsUnavailableError
from controlplane.loop import Loop
from controlplane.model import (
    Actuation,
    Endpoint,
    GuardSettings,
    Near,
    Observation,
    Part,
    Service,
    ServiceName,
    Zone,
)
from controlplane.publisher import Publisher
from controlplane.resources import Declared
from controlplane.telemetry.metrics import LoopMetrics
from controlplane.translate import Translator
from tests.fakes import FixedPolicy, HealthySource, MemoryStore, RecordingSink, service

pytestmark = pytest.mark.looptime(start=1000.0)

CART = service(actuation=Actuation.ENDPOINTS)


class Rig:
    """A loop on fakes, on the test's own clock."""

    def __init__(
        self,
        shares: Sequence[float] = (0.4, 0.2, 0.2, 0.2),
        store: MemoryStore | None = None,
        *,
        decides: bool = True,
    ) -> None:
        self.clock = asyncio.get_running_loop().time
        self.source = HealthySource(self.clock)
        self.policy = FixedPolicy(shares)
        self.sink = RecordingSink()
        self.store = store or MemoryStore()
        self.frozen: str | None = None
        self.decides = decides
        self.settled: list[frozenset[ServiceName]] = []
        self.registry = CollectorRegistry()
        self.loop = Loop(
            source=self.source,
            decider=Decider(Policies({"fixed": lambda: lambda: self.policy})),
            publisher=Publisher(Translator(), self.sink, lambda percent: percent),
            store=self.store,
            switch=lambda: lambda name: self.frozen,
            clock=self.clock,
            wall_clock=lambda: 1_700_000_000.0,
            metrics=LoopMetrics(self.registry),
            resumed=dict(self.store.saved),
            decides=lambda: self.decides,
            settled=lambda names: self.settled.append(frozenset(names)),
        )

    async def run(self, seconds: float) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.loop.run()

    def shares(self) -> np.ndarray:
        known = self.loop.known(CART.name)
        assert known is not None
        assert known.verdict is not None
        return known.verdict.shares

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


async def declared() -> Rig:
    rig = Rig()
    await rig.loop.declare(Declared(), [CART])
    return rig


async def test_a_service_is_published_when_it_is_declared() -> None:
    rig = await declared()
    assert len(rig.sink.published) == 1
    np.testing.assert_allclose(rig.shares(), 0.25)


async def test_a_part_that_goes_or_changes_its_place_is_published() -> None:
    rig = Rig()
    eu, us = (
        replace(CART, name=ServiceName(f"{CART.name}@{place}"), part=Part(priority))
        for priority, place in enumerate(("eu", "us"))
    )
    nothing = Declared()
    await rig.loop.declare(nothing, [eu, us])
    await rig.loop.declare(nothing, [eu, us])
    assert len(rig.sink.published) == 1
    await rig.loop.declare(nothing, [replace(eu, part=Part(1)), replace(us, part=Part(0))])
    assert len(rig.sink.published) == 2
    await rig.loop.declare(nothing, [replace(us, part=Part(0))])
    assert len(rig.sink.published) == 3


class PlacedSource(HealthySource):
    """Sees requests at the Envoys of two zones."""

    requests: Mapping[Zone, float] = {}

    async def observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        looks = await super().observe(services)
        return {name: replace(one, by_place=self.requests) for name, one in looks.items()}


def zones_of(*where: Zone) -> list[Service]:
    """Four endpoints in each."""
    return [
        replace(
            service(f"{CART.name}@{zone}"),
            endpoints=tuple(Endpoint(f"10.0.{i}.{n}", 80, zone) for n in range(4)),
            part=Part(0, 500, where=zone, near=Near()),
        )
        for i, zone in enumerate(where)
    ]


async def test_orders_of_zones_after_a_restart_are_the_last_ones_before() -> None:
    rig, a, b = Rig(), Zone("eu", "a"), Zone("eu", "b")
    rig.source = source = PlacedSource(rig.clock)
    rig.loop._source = source
    zones = zones_of(a, b)
    await rig.loop.declare(Declared(), zones)
    at_first = rig.sink.published[-1].by_place
    source.requests = {a: 300.0, b: 100.0}
    await rig.run(20.5)
    last = rig.sink.published[-1]
    assert last.by_place != at_first
    again = Rig(store=rig.store)
    await again.loop.declare(Declared(), zones)
    assert again.sink.published[-1].by_place == last.by_place
    assert again.sink.published[-1].resources == last.resources


async def test_where_requests_come_in_decides_what_the_envoys_of_each_zone_are_told() -> None:
    rig, a, b = Rig(), Zone("eu", "a"), Zone("eu", "b")
    rig.source = source = PlacedSource(rig.clock)
    rig.loop._source = source
    zones = zones_of(a, b)
    await rig.loop.declare(Declared(), zones)
    at_first = rig.sink.published[-1].by_place
    assert at_first.keys() == {a, b}  # the region alone is told what is common
    assert rig.loop.orders(CART.name)[a][zones[0].name].priority == 0
    source.requests = {a: 300.0, b: 100.0}
    rig.frozen = "somebody said so"
    await rig.run(20.5)
    assert rig.sink.published[-1].by_place == at_first
    rig.frozen = None
    await rig.run(20.5)
    now = rig.sink.published[-1].by_place
    assert now[a] != at_first[a]
    assert now[b] == at_first[b]
    order = rig.loop.orders(CART.name)[a]
    weights = [order[one.name].weight or 0 for one in zones]
    assert weights[0] / sum(weights) == pytest.approx(0.667, abs=0.05)


async def test_who_drains_is_published_though_no_weight_changes() -> None:
    rig = Rig()
    leaving = Endpoint("10.9.9.9", 80, draining=True)
    source = Declared()
    await rig.loop.declare(source, [replace(CART, draining=(leaving,))])
    await rig.loop.declare(source, [CART])
    assert len(rig.sink.published) == 2


async def test_ticks_move_the_shares_towards_what_the_policy_wants() -> None:
    rig = await declared()
    await rig.run(20.5)
    np.testing.assert_allclose(rig.shares(), [0.4, 0.2, 0.2, 0.2], atol=0.02)


async def test_the_source_is_asked_once_per_interval() -> None:
    rig = await declared()
    await rig.run(10.5)
    assert len(rig.source.asked) == 10


async def test_services_with_other_intervals_are_asked_when_they_are_due() -> None:
    rig = Rig()
    slow = replace(service("default/slow"), interval_s=5.0)
    await rig.loop.declare(Declared(), [CART, slow])
    await rig.run(10.5)
    asked = [name for names in rig.source.asked for name in names]
    assert asked.count(CART.name) == 10
    assert asked.count(ServiceName("default/slow")) == 2


async def test_nothing_is_pushed_while_nothing_changes() -> None:
    rig = Rig([0.25] * 4)
    await rig.loop.declare(Declared(), [CART])
    await rig.run(30.5)
    assert len(rig.sink.published) == 1


@pytest.mark.parametrize("kind", ["unavailable", "deadline"])
async def test_without_numbers_the_weights_are_held_and_it_is_counted(kind: str) -> None:
    rig = await declared()
    await rig.run(3.5)
    before = rig.shares().copy()
    rig.source.failing = MetricsUnavailableError("prometheus: 503")
    rig.source.hangs = kind == "deadline"
    await rig.run(20.0)
    # What was already under way at the last fresh look may end; then nothing moves.
    np.testing.assert_allclose(rig.shares(), before, atol=0.11)
    held = rig.shares().copy()
    await rig.run(5.0)
    np.testing.assert_array_equal(rig.shares(), held)
    assert rig.counted("weir_source_failures_total", kind=kind) >= 20


async def test_a_source_that_hangs_delays_no_tick() -> None:
    rig = await declared()
    rig.source.hangs = True
    await rig.run(10.5)
    assert len(rig.source.asked) == 10


async def test_a_frozen_service_keeps_its_weights() -> None:
    rig = await declared()
    await rig.run(3.5)
    rig.frozen = "somebody looks into it"
    before, pushes = rig.shares().copy(), len(rig.sink.published)
    await rig.run(10.0)
    np.testing.assert_array_equal(rig.shares(), before)
    assert len(rig.sink.published) == pushes


async def test_what_is_pushed_was_saved_before() -> None:
    rig = await declared()
    await rig.run(5.5)
    saved = rig.store.saved[CART.name]
    np.testing.assert_array_equal(saved.shares, rig.shares())


@pytest.mark.parametrize("trouble", ["failing", "hangs"])
async def test_a_store_in_trouble_costs_no_push(trouble: str) -> None:
    rig = await declared()
    setattr(rig.store, trouble, True)
    await rig.run(5.5)
    assert rig.shares()[0] > 0.3
    assert rig.counted("weir_store_failures_total") > 0


async def test_the_first_push_after_a_restart_is_the_last_one_before() -> None:
    rig = await declared()
    await rig.run(3.5)
    again = Rig(store=rig.store)
    await again.loop.declare(Declared(), [CART])
    assert again.sink.published[-1].resources == rig.sink.published[-1].resources


async def test_a_service_that_is_taken_out_is_no_longer_served() -> None:
    rig = await declared()
    await rig.loop.declare(Declared(), [])
    assert rig.loop.names() == []
    await rig.run(3.0)
    assert rig.source.asked == []


async def test_an_endpoint_that_is_taken_out_leaves_at_once() -> None:
    rig = await declared()
    await rig.run(2.5)
    fewer = replace(CART, endpoints=CART.endpoints[:3])
    await rig.loop.declare(Declared(), [fewer])
    known = rig.loop.known(CART.name)
    assert known is not None
    assert known.verdict is not None
    assert len(known.verdict.grouping.endpoints) == 3
    await rig.run(3.0)


@pytest.mark.parametrize("actuation", [Actuation.GROUPS, Actuation.ENDPOINTS])
async def test_a_service_may_have_no_endpoints_for_a_while(actuation: Actuation) -> None:
    """At its beginning, before the first pod is ready, and later."""
    some = replace(CART, actuation=actuation)
    none = replace(some, endpoints=())
    rig = Rig()
    for now in (none, some, none, some):
        await rig.loop.declare(Declared(), [now])
        await rig.run(2.5)
    np.testing.assert_allclose(rig.shares().sum(), 1.0)


@pytest.mark.parametrize(
    "shares",
    [[np.nan] * 4, [0.0] * 4, [np.inf, 1, 1, 1], [-1.0, 1, 1, 1], [1.0, 0, 0]],
    ids=["nan", "zeros", "inf", "negative", "wrong-length"],
)
async def test_a_policy_that_talks_nonsense_moves_nothing_and_it_is_said(
    shares: list[float],
) -> None:
    rig = Rig(shares)
    await rig.loop.declare(Declared(), [replace(CART, fallback="fixed")])
    await rig.run(5.5)
    np.testing.assert_allclose(rig.shares(), 0.25)
    known = rig.loop.known(CART.name)
    assert known is not None
    assert known.verdict is not None
    assert {"refused", "policy_failed"} & {reason.code for reason in known.verdict.reasons}


async def test_a_policy_that_wants_all_on_one_is_bounded_and_stepped() -> None:
    rig = Rig([1.0, 0.0, 0.0, 0.0])
    await rig.loop.declare(Declared(), [CART])
    await rig.run(60.5)
    settings = GuardSettings()
    assert rig.shares()[0] <= settings.max_share + 1e-9
    assert rig.shares().min() >= settings.min_ratio * 0.25 - 1e-9


async def test_an_error_that_no_stage_expects_ends_the_loop() -> None:
    rig = await declared()
    rig.source.failing = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await rig.loop.run()
