"""The simulator against queueing theory: formulas with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from policies.simulator import (
    Algorithm,
    Balancing,
    Case,
    Law,
    Outcome,
    Simulation,
    Station,
    Steps,
    Traffic,
    Work,
)

pytestmark = pytest.mark.learning


def felt(
    rho: float,
    *,
    endpoints: int = 1,
    workers: int = 1,
    work: Work | None = None,
    algorithm: Algorithm = Algorithm.FULL_SCAN,
    requests: int = 600_000,
    proxies: int = 1,
) -> Outcome:
    """What the requests of a long run get, after a warm-up of a tenth."""
    rate = rho * endpoints * workers
    case = Case(
        "theory",
        tuple(Station(workers) for _ in range(endpoints)),
        Traffic(Steps.of(rate)),
        work or Work(1.0),
        proxies,
        duration_s=requests / rate,
        timeout_s=math.inf,
        queue_limit=10**9,
        balancing=Balancing(algorithm, eject_after=0),
    )
    run = Simulation(case, seed=7)
    run.advance(0.1 * case.duration_s)
    run.outcome()
    run.advance(case.duration_s)
    return run.outcome()


def erlang_c(workers: int, rho: float) -> float:
    """The probability that a request has to wait."""
    load = workers * rho
    head = sum(load**k / math.factorial(k) for k in range(workers))
    tail = load**workers / math.factorial(workers) / (1.0 - rho)
    return tail / (head + tail)


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_one_exponential_server_is_m_m_1(rho: float) -> None:
    result = felt(rho)
    assert result.mean_s == pytest.approx(1.0 / (1.0 - rho), rel=0.03)
    assert result.quantile_s(0.99) == pytest.approx(-math.log(0.01) / (1.0 - rho), rel=0.06)


@pytest.mark.parametrize(("workers", "rho"), [(2, 0.7), (4, 0.8), (8, 0.9)])
def test_several_exponential_servers_are_m_m_c(workers: int, rho: float) -> None:
    wait = erlang_c(workers, rho) / (workers * (1.0 - rho))
    assert felt(rho, workers=workers).mean_s == pytest.approx(1.0 + wait, rel=0.03)


@pytest.mark.parametrize(
    "work",
    [
        Work(1.0, Law.DETERMINISTIC),
        Work(1.0, Law.LOGNORMAL, 2.0),
        Work(1.0, Law.HYPEREXPONENTIAL, 3.0),
        Work(1.0, Law.BIMODAL, 1.5),
    ],
    ids=lambda w: str(w.law),
)
def test_one_server_of_any_law_is_pollaczek_khinchine(work: Work) -> None:
    scv = 0.0 if work.law is Law.DETERMINISTIC else work.scv
    rho = 0.7
    wanted = 1.0 + rho / (1.0 - rho) * (1.0 + scv) / 2.0
    assert felt(rho, work=work, requests=2_000_000).mean_s == pytest.approx(wanted, rel=0.04)


@pytest.mark.parametrize("rho", [0.7, 0.9])
def test_two_choices_among_many_reach_the_mean_field(rho: float) -> None:
    # M. Mitzenmacher, 2001: the part of queues with at least i requests is rho^(2^i - 1).
    wanted = sum(rho ** (2**i - 2) for i in range(1, 12))
    result = felt(rho, endpoints=300, algorithm=Algorithm.LEAST_REQUEST, requests=1_500_000)
    assert result.mean_s == pytest.approx(wanted, rel=0.03)


def test_random_splitting_by_many_blind_proxies_is_m_m_1_for_each_endpoint() -> None:
    # 4000 balancers that each see almost nothing in flight choose at random.
    result = felt(0.6, endpoints=8, proxies=4000, algorithm=Algorithm.LEAST_REQUEST)
    assert result.mean_s == pytest.approx(1.0 / 0.4, rel=0.04)


def test_full_scan_of_one_proxy_joins_the_shortest_queue() -> None:
    # Two servers, shortest queue: between one common queue (M/M/2) and two apart (M/M/1).
    result = felt(0.8, endpoints=2)
    common = 1.0 + erlang_c(2, 0.8) / (2 * 0.2)
    assert common < result.mean_s < 1.2 * common


@pytest.mark.parametrize("law", list(Law))
def test_work_has_the_mean_and_the_variation_that_it_says(law: Law) -> None:
    scv = {Law.DETERMINISTIC: 0.0, Law.EXPONENTIAL: 1.0, Law.BIMODAL: 1.5}.get(law, 2.0)
    drawn = Work(0.05, law, max(scv, 1.0)).sample(400_000, np.random.default_rng(3))
    assert drawn.mean() == pytest.approx(0.05, rel=0.02)
    assert drawn.var() / drawn.mean() ** 2 == pytest.approx(scv, rel=0.06, abs=1e-9)
