from __future__ import annotations

import numpy as np
import pytest

from controlplane.guard import Code
from controlplane.model import Estimate, GuardSettings
from tests.unit.guard.cases import Life, codes, grouped, ids, look, service, text_of

FAST_SLOW = [400.0, 400.0, 100.0, 100.0]


def settled(rate: float, wanted: list[float], guard: GuardSettings | None = None) -> Life:
    """Two fast and two slow endpoints in two groups, `rate` requests/s for each of the four."""
    of = service(4, guard=guard)
    life = Life(of, grouped(of, 0, 0, 1, 1))
    life.estimate = Estimate(ids(of), 0.0, np.array(FAST_SLOW))
    for _ in range(20):
        life.ask(wanted, look(of, life.now_s + 1, rate=rate))
    return life


def test_at_a_low_load_the_fast_class_may_have_nearly_everything() -> None:
    assert settled(60.0, [0.95, 0.05]).shares == pytest.approx([0.95, 0.05], abs=0.01)


def test_at_half_load_twice_as_much_must_not_flood_the_fast_class() -> None:
    life = settled(125.0, [0.99, 0.01])
    assert life.shares[0] == pytest.approx(0.8 * 1.15, abs=0.02)
    doubled_rps = 2 * 4 * 125.0
    assert doubled_rps * life.shares[0] <= 800.0 * 1.15 * 1.03
    verdict = life.ask([0.99, 0.01], look(life.service, life.now_s + 1, rate=125.0))
    assert "at 2 times the present" in text_of(verdict, Code.CROWD)
    assert "a would be flooded" in text_of(verdict, Code.CROWD)


def test_the_rise_and_the_slack_are_settings() -> None:
    life = settled(60.0, [0.99, 0.01], GuardSettings(crowd=5.0, crowd_slack=1.0))
    assert life.shares[0] == pytest.approx(0.8, abs=0.02)


def test_without_estimates_there_is_nothing_to_reckon_with() -> None:
    of = service(4)
    life = Life(of, grouped(of, 0, 0, 1, 1))
    assert Code.CROWD not in codes(life.ask([0.9, 0.1]))


def test_what_a_sick_endpoint_gives_up_others_may_take_over() -> None:
    of = service(4)
    life = Life(of)
    life.estimate = Estimate(ids(of), 0.0, np.full(4, 100.0))
    for _ in range(12):
        seen = look(of, life.now_s + 1, rate=60.0)
        seen.latency_s[3] *= 20
        life.ask([0.3, 0.3, 0.3, 0.1], seen)
    assert life.shares[3] == pytest.approx(0.1, abs=0.02)


def test_an_absurd_estimate_is_not_believed() -> None:
    of = service(4)
    life = Life(of)
    life.estimate = Estimate(ids(of), 0.0, np.array([1e12, 100.0, 100.0, np.nan]))
    for _ in range(40):
        life.ask([1.0, 0.0, 0.0, 0.0], look(of, life.now_s + 1, rate=10.0))
    assert life.shares[1:].min() > 0.0005
    assert life.shares.sum() == pytest.approx(1.0)
