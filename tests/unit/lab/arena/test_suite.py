from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from controlplane.errors import ConfigurationError
from controlplane.lab.arena.bench import Bench
from controlplane.lab.arena.suite import SUITE, of_suite
from controlplane.lab.backends import Happening
from controlplane.lab.scenarios import Spells, Stage, stage


def made(name: str, seed: int = 1) -> Stage:
    scenario = of_suite(name)
    return stage(scenario, seed=seed, duration_s=60.0, envoys=scenario.envoys, warmup_s=20.0)


@pytest.mark.parametrize("name", SUITE)
def test_every_scenario_can_be_played_and_leaves_room(name: str) -> None:
    """Of the capacity that there is at each moment; what is slow counts as slow."""
    now = made(name)
    scenario = now.scenario
    assert len(now.schedule.at_s) > 2000
    times = [0.0, *(event.at_s for event in now.events), *(at for at, _ in now.joins)]
    for at in np.arange(0.0, 60.0, 1.0):
        slow = [1.0] * len(scenario.backends)
        for event in now.events:
            if event.at_s <= at and event.happening in (Happening.SLOW, Happening.RESTORE):
                slow[event.backend] = event.value
        capacity = sum(scenario.backends[i].capacity / slow[i] for i in now.members(float(at)))
        factor = 1.0
        for fraction, by, _ in scenario.profile:
            factor = by if fraction * 60.0 <= at else factor
        assert scenario.rate_rps * factor * scenario.work.mean_s < 0.95 * capacity, at
    assert max(times) < 75.0


def test_a_seed_draws_the_same_spells_and_another_one_others() -> None:
    assert made("gc-pauses").events == made("gc-pauses").events
    assert made("gc-pauses").events != made("gc-pauses", seed=2).events
    assert {e.backend for e in made("gc-pauses").events} == set(range(8))


def test_spells_of_a_backend_are_apart() -> None:
    pauses = [e for e in made("gc-pauses").events if e.backend == 3]
    assert all(a.at_s + a.value < b.at_s for a, b in pairwise(pauses))
    assert all(0.05 <= e.value <= 0.3 for e in pauses)


def test_a_spell_that_is_neither_slow_nor_a_pause_is_refused() -> None:
    with pytest.raises(ValueError, match="slowness or a pause"):
        Spells((0,), Happening.FAIL, (1.0, 2.0), (1.0, 2.0), "")


def test_backends_join_when_they_are_told_to() -> None:
    now = made("scale-out")
    assert now.members(-1.0) == (0, 1, 2, 3, 4, 5)
    assert now.members(21.0) == tuple(range(8))


def test_there_are_the_scenarios_that_a_balancer_is_judged_by() -> None:
    wanted = {
        *("homogeneous", "hardware-2x", "hardware-4x", "sparse", "noisy-neighbour", "gc-pauses"),
        *("degradation", "flash-crowd", "scale-out", "grey-failure", "fast-fail"),
    }
    assert wanted <= set(SUITE)


def test_what_cannot_be_played_is_refused_before_it_begins() -> None:
    with pytest.raises(ConfigurationError, match="there are: homogeneous"):
        Bench(scenarios=("homogenous",))
    with pytest.raises(ConfigurationError, match="no contestant"):
        Bench(lanes=("full_scan", "best"))
    with pytest.raises(ConfigurationError, match="want full_scan"):
        Bench(lanes=("model",))
