from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.guard import Code
from controlplane.model import Endpoint, Grouping, Observation
from tests.unit.guard.cases import NAME, Life, codes, each, ids, look, service


def grow(life: Life, by: int = 1) -> None:
    """More endpoints are declared, each with a weight of its own."""
    life.service = service(len(life.service.endpoints) + by)
    life.grouping = each(life.service)


def test_a_new_endpoint_enters_at_a_fifth_of_its_share_and_reaches_it_by_small_steps() -> None:
    life = Life(service(4))
    grow(life)
    path = [life.ask([0.1, 0.1, 0.1, 0.1, 0.6]).shares[4] for _ in range(11)]
    assert path[0] == pytest.approx(0.04)
    assert path[5] < 0.2 * 0.7
    assert path[-1] == pytest.approx(0.2, abs=0.02)
    assert max(np.array(path[1:]) / np.array(path[:-1])) <= 1.25 + 1e-9


def test_no_policy_decides_about_it_before_it_is_warm() -> None:
    greedy, shy = Life(service(4)), Life(service(4))
    for life, wanted in ((greedy, [0.1] * 4 + [0.6]), (shy, [0.25] * 4 + [0.0])):
        grow(life)
        for _ in range(8):
            verdict = life.ask(wanted)
            assert Code.WARMING in codes(verdict)
    assert greedy.shares[4] == pytest.approx(shy.shares[4])


def test_afterwards_the_policy_decides() -> None:
    life = Life(service(4))
    grow(life)
    for _ in range(25):
        verdict = life.ask([0.15, 0.15, 0.15, 0.15, 0.4])
    assert Code.WARMING not in codes(verdict)
    assert life.shares[4] == pytest.approx(0.4, abs=0.02)


def test_the_ramp_goes_on_while_there_are_no_numbers() -> None:
    life = Life(service(4))
    life.ask(None)
    grow(life)
    for _ in range(14):
        life.ask([0.2] * 5, Observation.unknown(NAME, ids(life.service)))
    assert life.shares[4] == pytest.approx(0.2, abs=0.02)


def test_frozen_by_a_person_a_new_endpoint_enters_with_its_full_share_and_stays() -> None:
    life = Life(service(4))
    life.frozen = "stop"
    grow(life)
    assert life.ask(None).shares == pytest.approx([0.2] * 5)
    life.frozen = None
    assert not life.ask([0.2] * 5).changed


def test_the_endpoints_of_the_start_need_no_ramp() -> None:
    life = Life(service(4))
    assert Code.WARMING not in codes(life.ask([0.3, 0.3, 0.2, 0.2]))


def test_when_all_endpoints_are_replaced_nobody_ramps_for_somebody_has_to_serve() -> None:
    life = Life(service(3))
    others = tuple(Endpoint(f"10.9.0.{i}", 80) for i in (1, 2, 3))
    life.service = replace(life.service, endpoints=others)
    life.grouping = each(life.service)
    verdict = life.ask([0.5, 0.3, 0.2])
    assert Code.WARMING not in codes(verdict)
    assert verdict.shares.min() > 0.25


def test_a_group_of_new_endpoints_ramps_as_one() -> None:
    of = service(4)
    life = Life(of, Grouping(ids(of), ("a",), np.zeros(4, dtype=np.intp)))
    life.service = service(6)
    life.grouping = Grouping(ids(life.service), ("a", "new"), np.array([0, 0, 0, 0, 1, 1]))
    path = [life.ask([0.0, 1.0]).shares[1] for _ in range(11)]
    assert path[0] == pytest.approx(0.2 / 3)
    assert path[-1] == pytest.approx(1 / 3, abs=0.02)


def test_an_endpoint_that_flaps_starts_low_each_time() -> None:
    life = Life(service(5))
    for _ in range(3):
        life.service = service(4)
        life.grouping = each(life.service)
        life.ask(None)
        grow(life)
        assert life.ask(None).shares[4] == pytest.approx(0.04)


def test_numbers_of_a_look_before_the_change_are_read_by_name() -> None:
    life = Life(service(4))
    before = look(life.service, life.now_s + 1)
    before.failed[0] = 90.0
    before.succeeded[0] = 10.0
    grow(life)
    verdict = life.ask([0.4, 0.15, 0.15, 0.15, 0.15], before)
    assert Code.BLACK_HOLE in codes(verdict)
