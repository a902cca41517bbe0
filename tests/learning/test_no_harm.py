"""Where Weir could do harm and must not: what failed once stays mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.fidelity import arena_case
from controlplane.model import Grouping
from policies.env.stages import Stages
from policies.league.match import outcomes
from policies.league.players import FULL_SCAN, MODEL, registry, released, those
from policies.league.suite import RELEASE_SEEDS, Fixture
from policies.simulator import (
    Algorithm,
    Balancing,
    Case,
    Outcome,
    Simulation,
    Station,
    Steps,
    Traffic,
    Work,
    endpoint_id,
)
from policies.training.evaluate import LEARNED

pytestmark = pytest.mark.learning

WARMUP_S = 10.0
MEAN, P99 = 1.03, 1.05
"""Of FULL_SCAN: docs/league.md."""


def against_full_scan(cases: Sequence[tuple[Case, int]], name: str = MODEL) -> tuple[float, float]:
    """Geometric mean of a player's ratios, mean and p99; `LEARNED` is what is installed."""
    players = those((FULL_SCAN, name), [released(LEARNED)])
    stages = Stages.installed()
    policies = registry(stages, players)
    full, ours = (outcomes(cases, one, stages, policies, skipped_s=WARMUP_S) for one in players)

    def ratio(of: str) -> float:
        felt = [(measure(a, of), measure(b, of)) for a, b in zip(ours, full, strict=True)]
        return float(np.exp(np.mean([np.log(a / b) for a, b in felt])))

    return ratio("mean"), ratio("p99")


def measure(felt: Outcome, name: str) -> float:
    return felt.mean_s if name == "mean" else felt.quantile_s(0.99)


@pytest.mark.parametrize(("factor", "first"), [(1.0, 2.25), (1.4, 3.0)])
def test_an_ejected_endpoint_takes_its_part_along_as_in_envoy(factor: float, first: float) -> None:
    """The same as tests/envoy/test_group_shares.py sees in the real one."""
    broken = Station(4, fails=Steps.of(1.0), fail_work=0.05)
    made = Case(
        "ejected",
        (broken, *(Station(4),) * 7),
        Traffic(Steps.of(200.0)),
        Work(0.01),
        proxies=1,
        duration_s=14.0,
        balancing=Balancing(Algorithm.FULL_SCAN, overprovisioning=factor),
    )
    run = Simulation(made, seed=1)
    ids = tuple(endpoint_id(i) for i in range(8))
    run.split(Grouping(ids, ("a", "b"), np.repeat([0, 1], 4)), np.array([0.75, 0.25]))
    run.advance(2.0)
    before = run.arrived().copy()
    run.advance(14.0)
    got = run.arrived() - before
    assert got[0] == 0
    assert got[:4].sum() / got.sum() == pytest.approx(first / (first + 1.0), abs=0.005)


def test_a_crowd_does_not_find_the_fast_group_too_full() -> None:
    """The arena's crowds in which it was flooded most: 1.2 to 3 times FULL_SCAN's mean.

    A guess of twice the capacity, and steps of a fifth away from a queue that grew meanwhile.
    """
    how = {"duration_s": 40.0, "warmup_s": 15.0}
    drawn = ((5, 3), (5, 4), (10, 1), (10, 4))
    mean, p99 = against_full_scan(
        [
            (arena_case("flash-crowd", seed, algorithm=Algorithm.FULL_SCAN, **how), draw)
            for seed, draw in drawn
        ]
    )
    assert mean < MEAN
    assert p99 < P99


def fast_fails(factor: float | None = None) -> list[tuple[Case, int]]:
    """The arena's: one of four endpoints of a group fails fast for a quarter of the run."""
    cases = []
    for seed in range(1, 5):
        case = arena_case(
            "fast-fail", seed, duration_s=20.0, warmup_s=WARMUP_S, algorithm=Algorithm.FULL_SCAN
        )
        if factor is not None:
            rules = replace(case.balancing, overprovisioning=factor)
            case = replace(case, balancing=rules)
        cases.append((case, seed))
    return cases


def test_an_endpoint_that_fails_fast_does_not_flood_its_group() -> None:
    mean, p99 = against_full_scan(fast_fails())
    assert mean < MEAN
    assert p99 < P99
    with_envoys_own, _ = against_full_scan(fast_fails(1.4))
    assert with_envoys_own > mean + 0.03


@pytest.mark.parametrize(
    ("family", "name", "most"),
    [
        ("degradation", MODEL, 1.3),
        ("slow_region", MODEL, P99),
        ("degradation", LEARNED, P99),
        ("slow_region", LEARNED, P99),
    ],
)
def test_who_turns_slow_near_full_load_is_not_left_with_a_queue(
    family: str, name: str, most: float
) -> None:
    """Without the backlog (`decide/backlog.py`) p99 of `model` was up to 2.5 times that of
    FULL_SCAN, and 1.6 and 1.2 times over these cases. With it, it is 1.12 and .97 times."""
    fixtures = [
        Fixture(family, 0.85, endpoints, proxies, RELEASE_SEEDS + 500_000 + 1_000 * endpoints + i)
        for endpoints, proxies in ((10, 16), (16, 32))
        for i in range(3)
    ]
    mean, p99 = against_full_scan([(one.case(), one.seed) for one in fixtures], name)
    assert mean < MEAN
    assert p99 < most
