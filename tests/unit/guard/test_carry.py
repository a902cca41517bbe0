from __future__ import annotations

import numpy as np
import pytest

from controlplane.guard import Code
from controlplane.model import Grouping
from tests.unit.guard.cases import Life, codes, each, grouped, ids, look, service, text_of


def test_endpoints_that_stay_keep_their_relation_when_one_goes() -> None:
    life = Life(service(4))
    life.ask([0.3, 0.25, 0.25, 0.2])
    life.service = service(3)
    life.grouping = each(life.service)
    verdict = life.ask(np.array([0.3, 0.25, 0.25]))
    assert verdict.shares == pytest.approx(np.array([0.3, 0.25, 0.25]) / 0.8)
    assert (
        text_of(verdict, Code.ENDPOINTS)
        == "0 endpoints came, 1 went; what stays keeps its relation"
    )


def test_a_change_of_endpoints_is_pushed_at_once_however_small_it_is() -> None:
    life = Life(service(100))
    life.ask(np.ones(100))
    life.service = service(99)
    life.grouping = each(life.service)
    seen = look(life.service, life.now_s + 0.1, rate=0.001)
    assert life.ask(np.ones(99), seen, after_s=0.1).changed


def test_the_same_endpoints_in_another_order_are_no_change_of_endpoints() -> None:
    life = Life(service(3))
    life.ask([0.4, 0.3, 0.3])
    before = dict(zip(ids(life.service), life.shares, strict=True))
    names = tuple(reversed(ids(life.service)))
    life.grouping = Grouping(names, names, np.arange(3), by_locality=False)
    verdict = life.ask([before[name] for name in names])
    assert Code.ENDPOINTS not in codes(verdict)
    assert verdict.by_endpoint() == pytest.approx(before)


def test_a_regrouping_is_pushed_even_when_the_shares_stay() -> None:
    of = service(4)
    life = Life(of, grouped(of, 0, 0, 0, 0))
    life.grouping = grouped(of, 0, 0, 1, 1)
    verdict = life.ask([0.5, 0.5])
    assert verdict.changed
    assert codes(verdict)[0] == Code.REGROUPED
    assert verdict.weights.by_group == pytest.approx((20_000, 20_000), abs=300)


def test_a_group_that_is_divided_hands_on_what_its_endpoints_were_given() -> None:
    of = service(4)
    life = Life(of, grouped(of, 0, 0, 0, 0))
    life.ask([1.0], look(of, life.now_s + 1.0, rate=[40.0, 40.0, 160.0, 160.0]))
    life.grouping = grouped(of, 0, 0, 1, 1)
    seen = look(of, life.now_s + 1.0, rate=[40.0, 40.0, 160.0, 160.0])
    verdict = life.ask([0.2, 0.8], seen)
    assert verdict.shares == pytest.approx([0.2, 0.8], abs=0.03)


def test_an_endpoint_that_was_given_nothing_keeps_a_little_when_its_group_is_divided() -> None:
    of = service(2)
    life = Life(of, grouped(of, 0, 0))
    life.grouping = grouped(of, 0, 1)
    verdict = life.ask([0.5, 0.5], look(of, life.now_s + 1.0, rate=[0.0, 200.0]))
    assert 0.0 < verdict.shares[0] < 0.5


def test_endpoint_weights_carry_over_by_weight_alone() -> None:
    of = service(2)
    life = Life(of)
    life.grouping = grouped(of, 0, 1)
    verdict = life.ask([0.5, 0.5], look(of, life.now_s + 1.0, rate=[10.0, 200.0]))
    assert verdict.shares == pytest.approx([0.5, 0.5], abs=0.01)


def test_regroupings_are_spaced() -> None:
    of = service(4)
    life = Life(of, grouped(of, 0, 0, 0, 0))
    life.grouping = grouped(of, 0, 0, 1, 1)
    life.ask([0.5, 0.5])
    life.grouping = grouped(of, 0, 1, 0, 1)
    waited = 0
    while True:
        verdict = life.ask([0.7, 0.3])
        if verdict.changed:
            break
        assert "at the earliest" in text_of(verdict, Code.SPACED)
        waited += 1
    assert waited == 9
    assert verdict.grouping.same_as(grouped(of, 0, 1, 0, 1))


def test_one_group_is_not_waited_for() -> None:
    of = service(4)
    life = Life(of, grouped(of, 0, 0, 0, 0))
    life.grouping = grouped(of, 0, 0, 1, 1)
    life.ask([0.5, 0.5])
    life.grouping = grouped(of, 0, 0, 0, 0)
    assert life.ask([1.0]).grouping.same_as(life.grouping)
    life.grouping = grouped(of, 0, 0, 1, 1)
    assert Code.SPACED in codes(life.ask([0.5, 0.5]))


def test_from_endpoint_weights_to_groups_the_shares_are_summed() -> None:
    life = Life(service(4))
    life.ask([0.3, 0.3, 0.2, 0.2])
    life.grouping = grouped(life.service, 0, 0, 1, 1)
    verdict = life.ask([0.6, 0.4])
    assert verdict.shares == pytest.approx([0.6, 0.4])
    assert Code.REGROUPED in codes(verdict)


def test_frozen_by_a_person_nothing_is_regrouped() -> None:
    of = service(4)
    life = Life(of, grouped(of, 0, 0, 0, 0))
    life.frozen = "stop"
    life.grouping = grouped(of, 0, 0, 1, 1)
    verdict = life.ask([0.5, 0.5])
    assert not verdict.changed
    assert verdict.grouping.names == ("a",)
