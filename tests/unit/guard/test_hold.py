from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.guard import Code
from tests.unit.guard.cases import Life, codes, grouped, look, service, text_of


def test_a_change_under_two_per_cent_is_not_pushed() -> None:
    life = Life(service(4))
    verdict = life.ask([0.265, 0.25, 0.25, 0.235])
    assert not verdict.changed
    assert text_of(verdict, Code.HELD) == (
        "the change of 1.50% in total is under 2.00%: not pushed"
    )
    assert life.ask([0.275, 0.25, 0.25, 0.225]).changed


def test_small_changes_in_one_direction_add_up_to_a_push() -> None:
    life = Life(service(4))
    moves = [0.006 * i for i in range(9)]
    pushed = [life.ask([0.25 + move, 0.25, 0.25, 0.25 - move]).changed for move in moves]
    assert pushed == [False, False, False, False, True, False, False, False, True]


def test_one_sick_endpoint_of_a_hundred_is_not_too_small_to_matter() -> None:
    life = Life(service(100))
    wanted = np.full(100, 1.0)
    wanted[7] = 0.3
    seen = look(life.service, life.now_s + 1)
    seen.latency_s[7] *= 10
    verdict = life.ask(wanted, seen)
    assert verdict.changed
    assert verdict.shares[7] == pytest.approx(0.005)


def test_a_return_to_even_endpoint_weights_is_not_too_small_to_matter() -> None:
    life = Life(service(4))
    life.ask([0.275, 0.25, 0.25, 0.225])
    life.ask([0.26, 0.25, 0.25, 0.24], after_s=1.0)
    verdict = life.ask([0.25, 0.25, 0.25, 0.25])
    assert verdict.weights.by_group == (10_000,) * 4
    assert verdict.changed


def test_pushes_are_spaced_by_the_traffic_of_each_worker() -> None:
    life = Life(service(4))
    wishes = [[0.3, 0.25, 0.25, 0.2], [0.2, 0.25, 0.25, 0.3]] * 5
    pushed = []
    for wanted in wishes:
        seen = look(life.service, life.now_s + 1, rate=1.0)
        seen = replace(seen, workers=3)  # 4 endpoints x 3 workers at 4 requests/s: 3 s
        verdict = life.ask(wanted, seen)
        pushed.append(verdict.changed)
    assert pushed == [False, False, True, False, False, True, False, False, True, False]
    assert "over 3 workers the next may come after 3.0 s" in text_of(verdict, Code.SPACED)


def test_few_groups_may_be_pushed_sooner_than_many_endpoints() -> None:
    of = service(4)
    life = Life(of, grouped(of, 0, 0, 1, 1))
    seen = replace(look(of, life.now_s + 1, rate=2.0), workers=3)
    assert life.ask([0.55, 0.45], seen).changed


def test_with_next_to_no_traffic_a_push_waits_half_a_minute_and_no_longer() -> None:
    life = Life(service(4))
    pushed = []
    for _ in range(40):
        seen = look(life.service, life.now_s + 1, rate=[1, 0, 0, 0])
        pushed.append(life.ask([0.3, 0.25, 0.25, 0.2], replace(seen, workers=1000)).changed)
    assert pushed.index(True) == 29


def test_standing_still_is_no_push_and_needs_no_reason() -> None:
    life = Life(service(4))
    verdict = life.ask([0.25, 0.25, 0.25, 0.25])
    assert not verdict.changed
    assert codes(verdict) == []
