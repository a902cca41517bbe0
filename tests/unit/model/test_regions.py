"""Requests of several regions over stations of several regions, held to theory."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from controlplane.decide.queueing import optimal
from controlplane.model.observation import Floats
from controlplane.model.queues import marginal, queueing
from controlplane.model.regions import Destinations, Ways, spread

CLOSE = 0.01
"""Loads are looked up in a table."""


def places(capacity: list[float], base_s: list[float], servers: list[float]) -> Destinations:
    return Destinations(
        np.array(capacity), np.array(base_s), np.array(servers), np.ones(len(capacity))
    )


UNLIKE = places([200.0, 50.0, 100.0, 100.0], [0.02, 0.08, 0.04, 0.05], [4.0, 4.0, 8.0, 2.0])
FAR = np.array([[0.001, 0.001, 0.03, 0.03], [0.03, 0.03, 0.001, 0.001]])


def total_s(of: Destinations, way_s: Floats, rates: Floats) -> float:
    """Seconds spent by all requests of a second, by the formula of the station."""
    rho = rates.sum(axis=0) / of.capacity
    waits = of.base_s * (1.0 + of.variability * queueing(rho, of.servers))
    return float((rates * way_s).sum() + (rates.sum(axis=0) * waits).sum())


def cost(of: Destinations, way_s: Floats, rates: Floats) -> Floats:
    """(r, g) what one more request of each source would cost all."""
    rho = rates.sum(axis=0) / of.capacity
    return np.asarray(way_s + of.base_s * (1.0 + of.variability * marginal(rho, of.servers)))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85, 0.95])
def test_one_more_request_costs_each_source_the_same_wherever_it_sends(load: float) -> None:
    demand = load * UNLIKE.capacity.sum() * np.array([0.7, 0.3])
    rates = spread(UNLIKE, FAR, demand)
    assert np.allclose(rates.sum(axis=1), demand)
    at = cost(UNLIKE, FAR, rates)
    for row, sent in zip(at, rates, strict=True):
        used = sent > 1e-3 * sent.sum()
        assert np.ptp(row[used]) < CLOSE * row[used].mean()
        assert (row[~used] > (1.0 - CLOSE) * row[used].mean()).all()


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_no_optimiser_finds_less_total_time(load: float) -> None:
    demand = load * UNLIKE.capacity.sum() * np.array([0.7, 0.3])
    ours = total_s(UNLIKE, FAR, spread(UNLIKE, FAR, demand))
    start = demand[:, None] * UNLIKE.capacity / UNLIKE.capacity.sum()

    def spent(flat: Floats) -> float:
        rates = flat.reshape(start.shape)
        if (rates.sum(axis=0) >= UNLIKE.capacity).any():
            return 1e6
        return total_s(UNLIKE, FAR, rates)

    sums = {"type": "eq", "fun": lambda flat: flat.reshape(start.shape).sum(axis=1) - demand}
    bounds = [(0.0, None)] * start.size
    best = minimize(spent, start.ravel(), method="SLSQP", bounds=bounds, constraints=[sums])
    assert best.success
    assert ours <= best.fun * 1.001
    assert ours < 0.97 * total_s(UNLIKE, FAR, start)


def test_without_a_way_it_is_the_split_of_one_region() -> None:
    demand = 0.8 * UNLIKE.capacity.sum()
    alone = optimal(
        UNLIKE.capacity[None], UNLIKE.base_s[None], UNLIKE.servers[None], np.ones(1),
        np.array([demand]),
    )[0]  # fmt: skip
    rates = spread(UNLIKE, np.zeros((3, 4)), demand * np.array([0.5, 0.3, 0.2]))
    assert np.allclose(rates.sum(axis=0), alone, rtol=1e-3)


def test_regions_that_are_alike_keep_their_requests() -> None:
    alike = places([100.0, 100.0], [0.04, 0.04], [4.0, 4.0])
    rates = spread(alike, np.array([[0.0, 0.01], [0.01, 0.0]]), np.array([80.0, 80.0]))
    assert np.allclose(rates, [[80.0, 0.0], [0.0, 80.0]], atol=1e-3)


@pytest.mark.parametrize("way_s", [0.0, 0.05, 0.2])
def test_two_stations_of_one_server_split_as_in_closed_form(way_s: float) -> None:
    """M/M/1: m1 / (m1 - x1)^2 = way + m2 / (m2 - x2)^2, all requests at the first's door."""
    m1, m2, asked = 10.0, 8.0, 9.0
    two = places([m1, m2], [1.0 / m1, 1.0 / m2], [1.0, 1.0])
    rates = spread(two, np.array([[0.0, way_s]]), np.array([asked]))[0]
    wanted = brentq(
        lambda x: m1 / (m1 - x) ** 2 - way_s - m2 / (m2 - (asked - x)) ** 2,
        asked - m2 + 1e-6,
        asked,
    )
    assert rates[0] == pytest.approx(wanted, rel=CLOSE)


def test_a_region_that_is_over_sends_what_is_above_to_where_there_is_room() -> None:
    two = places([100.0, 100.0], [0.04, 0.04], [4.0, 4.0])
    rates = spread(two, np.array([[0.0, 5.0], [5.0, 0.0]]), np.array([120.0, 20.0]))
    assert rates[1, 0] == 0.0
    assert 20.0 < rates[0, 1] < 25.0
    assert rates.sum(axis=0)[0] < 100.0


def test_a_station_without_capacity_gets_nothing() -> None:
    two = places([100.0, 0.0], [0.04, 0.04], [4.0, 1.0])
    assert spread(two, np.zeros((1, 2)), np.array([50.0])).tolist() == [[50.0, 0.0]]


def test_the_way_is_what_proxies_see_differently_at_the_same_endpoints() -> None:
    random = np.random.default_rng(3)
    way = np.array([[0.0, 0.03], [0.05, 0.0]])
    home = np.array([0, 0, 1, 1])
    ways = Ways.unknown(2)
    for _ in range(30):
        queue = random.uniform(0.02, 0.2, 4)
        samples = random.integers(1, 60, (2, 4)).astype(np.float64)
        noise = random.normal(0.0, 0.05, (2, 4)) / np.sqrt(samples)
        ways = ways.fold(queue + way[:, home] + noise, samples, home, 1.0)
    assert np.allclose(ways.seconds, way, atol=0.006)


def test_a_way_that_nobody_went_is_unknown_and_one_that_was_is_remembered() -> None:
    latency = np.array([[0.1, np.nan], [0.14, 0.2]])
    samples = np.array([[50.0, 0.0], [50.0, 50.0]])
    home = np.array([0, 1])
    ways = Ways.unknown(2).fold(latency, samples, home, 1.0)
    assert ways.weight[0, 1] == 0.0
    assert ways.seconds[1, 0] == pytest.approx(0.04)
    later = ways.fold(np.full((2, 2), np.nan), np.zeros((2, 2)), home, 60.0)
    assert later.seconds[1, 0] == pytest.approx(0.04)
