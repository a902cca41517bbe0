"""A Backend whose zones are chosen by time: the order of each place follows what is measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.decide import Places
from controlplane.decide.least_time import without_the_way
from controlplane.guard import check_zones
from controlplane.model import Endpoint, Near, Observation, Part, Service, ServiceName, Zone
from controlplane.model.observation import Floats
from controlplane.model.queues import queueing

EU, US = Zone("eu", "a"), Zone("us", "a")
WEB = ServiceName("default/web")
WAY_S = 0.03
SERVERS, WORK_S = 4.0, 0.04
CAPACITY_RPS = SERVERS / WORK_S


def parts(*zones: Zone, least_time: bool = True) -> list[Service]:
    """Two endpoints in each zone."""
    return [
        Service(
            ServiceName(f"{WEB}@{zone}"),
            tuple(Endpoint(f"10.{z}.0.{i}", 80, zone) for i in range(2)),
            part=Part(0, 1, where=zone, near=Near(least_time=least_time)),
        )
        for z, zone in enumerate(zones)
    ]


class World:
    """Two zones as queueing stations, whose Envoys send by the orders in force."""

    def __init__(self, asked: Floats, least_time: bool = True) -> None:
        self.places, self.parts = Places(check_zones), parts(EU, US, least_time=least_time)
        self.asked, self.now_s = asked, 0.0
        self.random = np.random.default_rng(2)
        self.fails = np.zeros(2)
        self.slow = np.ones(2)
        self.changes = 0

    def shares(self) -> Floats:
        """(places, zones) in force."""
        orders = self.places.orders.get(WEB, {})
        if not orders:
            return np.full((2, 2), 0.5)
        rows = []
        for place in (EU, US):
            order = orders[place]
            first = [order[part.name] for part in self.parts]
            weight = np.array([(one.weight or 1) * (one.priority == 0) for one in first])
            rows.append(weight / weight.sum())
        return np.array(rows)

    def tick(self) -> None:
        """A second of requests, and what is decided of it."""
        self.now_s += 1.0
        rate = self.asked[:, None] * self.shares()
        rho = np.minimum(rate.sum(axis=0) / (2.0 * CAPACITY_RPS), 0.98)
        there = self.slow * WORK_S * (1.0 + queueing(rho, SERVERS))
        took = there + WAY_S * (1.0 - np.eye(2))
        looks = {}
        for j, part in enumerate(self.parts):
            seen = self.random.poisson(rate[:, j, None] / 2.0, (2, 2)).astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                noise = 1.0 + self.random.normal(0.0, 1.0, (2, 2)) / np.sqrt(seen)
                latency = np.where(seen > 0, took[:, j, None] * noise, np.nan)
                mean = np.nansum(latency * seen, axis=0) / seen.sum(axis=0)
            ended = seen.sum(axis=0)
            nothing = np.full(2, np.nan)
            looks[part.name] = Observation(
                service=part.name,
                at_s=self.now_s,
                window_s=1.0,
                endpoints=tuple(one.id for one in part.endpoints),
                succeeded=ended * (1.0 - self.fails[j]),
                failed=ended * self.fails[j],
                in_flight=ended * mean,
                latency_s=mean,
                latency_p99_s=3.0 * mean,
                latency_samples=ended,
                utilisation=nothing + rho[j] if self.fails.any() else nothing,
                age_s=np.zeros(2),
                proxies=8,
                by_place=dict(zip((EU, US), self.asked.tolist(), strict=True)),
                latency_by_place={
                    place: np.stack([latency[i], seen[i]]) for i, place in enumerate((EU, US))
                },
            )
        self.changes += len(self.places.settle(self.parts, looks))

    @property
    def together(self) -> bool:
        orders = self.places.orders[WEB].values()
        return all(part.together for order in orders for part in order.values())

    def after(self, seconds: int) -> Floats:
        for _ in range(seconds):
            self.tick()
        return self.shares()


def test_places_that_are_alike_send_home_and_orders_stand_still() -> None:
    world = World(np.array([100.0, 100.0]))
    found = world.after(30)
    assert np.diag(found).min() > 0.9
    before = world.changes
    world.after(30)
    assert world.changes - before <= 2


def test_a_place_with_too_many_requests_sends_as_many_on_as_makes_all_quickest() -> None:
    """240 of 280 requests a second come in at one of two zones of 200 each."""
    asked = np.array([240.0, 40.0])
    found = World(asked).after(40)
    rho = asked @ found / (2.0 * CAPACITY_RPS)
    assert rho.max() < 0.9
    assert found[1, 1] > 0.9
    by_room = World(asked, least_time=False).after(40)
    assert abs(rho[0] - rho[1]) < 0.35

    def mean_s(shares: Floats) -> float:
        load = np.minimum(asked @ shares / (2.0 * CAPACITY_RPS), 0.98)
        there = WORK_S * (1.0 + queueing(load, SERVERS)) + WAY_S * (1.0 - np.eye(2))
        return float((asked[:, None] * shares * there).sum() / asked.sum())

    assert mean_s(found) < mean_s(by_room)


def test_a_zone_that_fails_is_left() -> None:
    world = World(np.array([60.0, 60.0]))
    world.after(10)
    world.fails = np.array([0.0, 0.7])
    assert world.after(30)[1, 0] > 0.5


def test_where_nothing_is_known_it_is_the_own_zone_first() -> None:
    places, made = Places(check_zones), parts(EU, US)
    unknown = {
        one.name: Observation.unknown(one.name, tuple(e.id for e in one.endpoints)) for one in made
    }
    assert places.settle(made, unknown)
    order = places.orders[WEB][EU]
    assert order[made[0].name].priority == 0
    assert order[made[1].name].priority > 0


def test_with_other_endpoints_it_is_learned_anew() -> None:
    world = World(np.array([240.0, 40.0]))
    world.after(20)
    world.parts = [world.parts[0], replace(world.parts[1], endpoints=world.parts[1].endpoints[:1])]
    looks = {
        one.name: Observation.unknown(one.name, tuple(e.id for e in one.endpoints))
        for one in world.parts
    }
    assert world.places.settle(world.parts, looks)
    assert set(world.places.orders[WEB]) >= {EU, US}


def test_without_its_way_a_far_endpoint_looks_as_it_is() -> None:
    world = World(np.array([100.0, 100.0]))
    seen = Observation.unknown(WEB, tuple(e.id for e in world.parts[0].endpoints))
    look = replace(
        seen,
        succeeded=np.array([100.0, 100.0]),
        failed=np.zeros(2),
        latency_s=np.array([0.05, 0.08]),
        latency_p99_s=np.array([0.15, 0.18]),
        in_flight=np.array([5.0, 8.0]),
    )
    samples = np.array([[100.0, 0.0], [0.0, 100.0]])
    plain = without_the_way(look, samples, np.array([[0.0, 0.03], [0.03, 0.03]]))
    assert plain.latency_s == pytest.approx([0.05, 0.05])
    assert plain.latency_p99_s == pytest.approx([0.15, 0.15])
    assert plain.in_flight == pytest.approx([5.0, 5.0])


def test_zones_are_one_once_one_is_flooded_and_until_all_were_calm_for_long() -> None:
    world = World(np.array([60.0, 60.0]))
    world.after(15)
    assert not world.together
    world.slow = np.array([1.0, 8.0])
    world.after(1)
    assert world.together
    known = world.places.known(WEB)
    assert known is not None
    assert known.why.mode == "together"
    assert "us:a" in known.why.reasons[0].text
    world.slow = np.ones(2)
    world.after(5)
    assert world.together
    world.after(40)
    assert not world.together


def test_zones_are_not_one_while_one_of_them_fails() -> None:
    """To a full scan, who fails fast is idle."""
    world = World(np.array([60.0, 60.0]))
    world.after(15)
    world.slow, world.fails = np.array([1.0, 8.0]), np.array([0.0, 0.7])
    world.after(10)
    assert not world.together


def test_a_new_process_goes_on_with_the_orders_and_ways_of_the_one_before() -> None:
    world = World(np.array([240.0, 40.0]))
    world.after(30)
    known = world.places.known(WEB)
    assert known is not None
    kept = {part.name: world.places.served(part) for part in world.parts}
    again = Places(check_zones, kept)
    nothing = {
        one.name: Observation.unknown(one.name, tuple(e.id for e in one.endpoints))
        for one in world.parts
    }
    assert again.settle(world.parts, nothing)
    assert again.orders == world.places.orders
    assert not again.settle(world.parts, nothing)
    resumed = again.known(WEB)
    assert resumed is not None
    assert resumed.ways.seconds[:, 1] == pytest.approx(known.ways.seconds[:, 1])
    before, world.places = world.shares(), again
    for _ in range(5):  # capacities are learned anew: it does not begin with the own zone
        world.tick()
        assert np.abs(world.shares() - before).max() < 0.2


def test_all_zones_as_one_are_so_after_a_restart() -> None:
    world = World(np.array([60.0, 60.0]))
    world.after(15)
    world.slow = np.array([1.0, 8.0])
    world.after(1)
    kept = {part.name: world.places.served(part) for part in world.parts}
    world.places = Places(check_zones, kept)
    world.after(3)
    assert world.together


def test_with_other_zones_nothing_is_resumed() -> None:
    world = World(np.array([240.0, 40.0]))
    world.after(20)
    kept = {world.parts[0].name: world.places.served(world.parts[0])}
    again = Places(check_zones, kept)
    nothing = {
        one.name: Observation.unknown(one.name, tuple(e.id for e in one.endpoints))
        for one in world.parts
    }
    again.settle(world.parts, nothing)
    assert again.orders[WEB][EU][world.parts[1].name].priority > 0
