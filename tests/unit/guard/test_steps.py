from __future__ import annotations

import numpy as np
import pytest

from controlplane.guard import Code
from controlplane.guard.steps import step
from controlplane.model import GuardSettings
from tests.unit.guard.cases import Life, each, look, service, text_of, with_errors

SETTINGS = GuardSettings()
HEALTHY = np.zeros(3, dtype=np.bool_)
OF = each(service(3))


def test_a_small_move_is_made_at_once_and_without_a_word() -> None:
    before, target = np.array([0.3, 0.4, 0.3]), np.array([0.33, 0.36, 0.31])
    after, reasons = step(before, target, SETTINGS, HEALTHY, OF)
    assert after is target
    assert reasons == ()


def test_a_share_grows_by_a_quarter_and_shrinks_by_a_fifth_at_most() -> None:
    before, target = np.array([0.2, 0.4, 0.4]), np.array([0.3, 0.5, 0.2])
    after, reasons = step(before, target, SETTINGS, HEALTHY, OF)
    assert after[2] == pytest.approx(0.32)
    assert after[0] == pytest.approx(0.2 + 0.05 * 0.08 / 0.15)
    assert after.sum() == pytest.approx(1.0)
    assert [reason.code for reason in reasons] == [Code.STEPPED]


def test_a_large_share_moves_by_ten_points_at_most() -> None:
    before, target = np.array([0.6, 0.2, 0.2]), np.array([0.4, 0.3, 0.3])
    after, _ = step(before, target, SETTINGS, HEALTHY, OF)
    assert after == pytest.approx([0.5, 0.25, 0.25])


def test_what_some_may_not_gain_the_others_keep_in_proportion_to_what_they_offered() -> None:
    before, target = np.array([0.1, 0.5, 0.4]), np.array([0.2, 0.46, 0.34])
    after, _ = step(before, target, SETTINGS, HEALTHY, OF)
    assert after == pytest.approx([0.125, 0.49, 0.385])


def test_a_sick_share_may_halve_and_the_reason_says_so() -> None:
    before, target = np.array([0.3, 0.4, 0.3]), np.array([0.05, 0.5, 0.45])
    sick = np.array([True, False, False])
    after, reasons = step(before, target, SETTINGS, sick, OF)
    assert after[0] == pytest.approx(0.15)
    assert [reason.code for reason in reasons] == [Code.SICK, Code.STEPPED]


def test_being_sick_does_not_move_what_nobody_asks_to_move() -> None:
    before = np.array([0.3, 0.4, 0.3])
    after, reasons = step(before, before, SETTINGS, np.ones(3, dtype=np.bool_), OF)
    assert after is before
    assert reasons == ()


def test_an_endpoint_far_slower_than_its_peers_is_left_faster() -> None:
    life = Life(service(4))
    seen = look(life.service, life.now_s + 1)
    seen.latency_s[2] *= 10
    verdict = life.ask([0.3, 0.3, 0.1, 0.3], seen)
    assert verdict.shares[2] == pytest.approx(0.125)
    assert "10.0.0.3:80" in text_of(verdict, Code.SICK)


def test_an_endpoint_that_fails_is_left_faster() -> None:
    life = Life(service(4))
    seen = with_errors(look(life.service, life.now_s + 1), 0, 40, 0, 0)
    verdict = life.ask([0.3, 0.1, 0.3, 0.3], seen)
    assert verdict.shares[1] == pytest.approx(0.125)


def test_steps_of_one_stand_still() -> None:
    life = Life(service(4, guard=GuardSettings(step_down=1.0, step_up=1.0, step_down_sick=1.0)))
    assert not life.ask([0.3, 0.3, 0.2, 0.2]).changed
