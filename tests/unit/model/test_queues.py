"""The station formulas against exact ones, and the tables against the formulas."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest

from controlplane.model.queues import SERVERS, load_at, marginal, queueing, utilisation_of


def erlang(rho: float, m: int) -> float:
    """Mean wait over service time of M/M/m, by Erlang's delay formula."""
    a = m * rho
    last = a**m / factorial(m) / (1.0 - rho)
    busy = last / (sum(a**k / factorial(k) for k in range(m)) + last)
    return busy / (m * (1.0 - rho))


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8, 0.95])
def test_one_server_is_exact(rho: float) -> None:
    assert queueing(np.array([rho]), 1)[0] == pytest.approx(rho / (1.0 - rho))


@pytest.mark.parametrize("m", [2, 4, 16])
@pytest.mark.parametrize("rho", [0.6, 0.8, 0.95])
def test_many_servers_are_near_erlang(m: int, rho: float) -> None:
    near = 1.0 + queueing(np.array([rho]), m)[0]
    assert near == pytest.approx(1.0 + erlang(rho, m), rel=0.05)


def test_the_marginal_cost_is_the_slope_of_the_total() -> None:
    rho, step, m = np.linspace(0.05, 0.95, 19), 1e-6, 4.0
    total = [(rho + d) * queueing(rho + d, m) for d in (-step, step)]
    assert marginal(rho, m) == pytest.approx((total[1] - total[0]) / (2 * step), rel=1e-4)


def test_the_load_at_a_margin_inverts_the_marginal_cost() -> None:
    rho = np.tile(np.linspace(0.05, 0.97, 40), 3)
    servers = np.repeat([1.0, 4.0, 23.0], 40)
    assert load_at(marginal(rho, servers), servers) == pytest.approx(rho, abs=0.01)


def test_no_margin_is_no_load_and_never_nan() -> None:
    assert load_at(np.array([0.0, -1.0, np.nan]), np.full(3, 4.0)).tolist() == [0.0, 0.0, 0.0]


def test_utilisation_from_in_flight_inverts_the_station() -> None:
    for k, servers in enumerate(SERVERS):
        rho = np.linspace(0.05, 0.97, 30)
        in_flight = servers * rho * (1.0 + queueing(rho, servers))
        assert np.exp(utilisation_of(in_flight)[0][k]) == pytest.approx(rho, rel=0.02)


def test_a_quiet_station_is_busy_in_proportion_and_a_swamped_one_fully() -> None:
    log_busy, elasticity = utilisation_of(np.array([1e-4, 1e6]))
    assert np.exp(log_busy[:, 0]) == pytest.approx(1e-4 / np.array(SERVERS), rel=0.02)
    assert log_busy[:, 1] == pytest.approx(0.0, abs=0.01)
    assert (elasticity[:, 0] > 0.9).all()
    assert (elasticity[:, 1] < 0.1).all()
