"""The whole guard: what it does of a bad proposal, a bad restart, and a person's freeze."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.guard import Code, check, resumed, shares_in_force
from controlplane.model import (
    Estimate,
    Grouping,
    GuardSettings,
    LastGood,
    Observation,
    Proposal,
    Service,
    Situation,
    Weights,
)
from tests.unit.guard.cases import NAME, Life, codes, each, grouped, ids, look, service, text_of


def test_a_policy_that_emits_nan_is_refused_and_the_last_good_stands() -> None:
    life = Life(service(4))
    before = life.ask([0.3, 0.25, 0.25, 0.2]).weights
    verdict = life.ask([0.3, float("nan"), 0.25, 0.2])
    assert verdict.weights == before
    assert not verdict.changed
    assert text_of(verdict, Code.REFUSED) == (
        "the proposal of test is refused, nothing moves: 1 of 4 shares are not finite numbers"
    )


def test_a_policy_that_emits_zeros_is_refused_and_the_last_good_stands() -> None:
    life = Life(service(4))
    before = life.ask([0.3, 0.25, 0.25, 0.2]).weights
    verdict = life.ask([0.0, 0.0, 0.0, 0.0])
    assert verdict.weights == before
    assert not verdict.changed
    assert text_of(verdict, Code.REFUSED).endswith("nothing moves: all shares are 0")


def test_a_policy_that_emits_one_hot_is_clipped_and_gets_there_in_small_steps() -> None:
    life = Life(service(4))
    verdict = life.ask([1.0, 0.0, 0.0, 0.0])
    assert verdict.weights.by_group == (12_500, 9_167, 9_167, 9_166)
    assert codes(verdict) == [Code.BOUNDED, Code.STEPPED]
    assert "10.0.0.1:80 from 100.00% to 50.00%" in text_of(verdict, Code.BOUNDED)
    for _ in range(20):
        verdict = life.ask([1.0, 0.0, 0.0, 0.0])
    assert 0.48 < verdict.shares[0] <= 0.5
    assert verdict.shares[1:].min() > 0.16


@pytest.mark.parametrize(
    "wanted",
    [[0.5, 0.5], [[0.25] * 4], [], [np.inf, 1, 1, 1], [-0.1, 0.4, 0.4, 0.3], ["a", "b", "c", "d"]],
)
def test_whatever_is_not_a_split_is_refused(wanted: list[float]) -> None:
    life = Life(service(4))
    verdict = life.ask(np.array(wanted))
    assert codes(verdict) == [Code.REFUSED]
    assert verdict.weights.by_group == (10_000,) * 4


def test_a_new_service_starts_with_equal_shares_whatever_is_proposed() -> None:
    of = service(3)
    verdict, _ = check(
        Situation(of, look(of, 5.0), Estimate.unknown(ids(of)), each(of), np.ones(3) / 3),
        Proposal(np.array([1.0, 0.0, 0.0]), "test"),
        None,
        5.0,
    )
    assert verdict.weights.by_group == (10_000, 10_000, 10_000)
    assert verdict.changed
    assert codes(verdict) == [Code.STARTED]


def test_a_new_service_starts_with_its_declared_capacities() -> None:
    life = Life(service(3, capacity=[2.0, 1.0, None]))
    assert life.shares == pytest.approx([2 / 4.5, 1 / 4.5, 1.5 / 4.5])


def last_good(of: Service, grouping: Grouping, *weights: int) -> LastGood:
    shares = np.array(weights) / sum(weights)
    return LastGood(of.name, grouping, shares, Weights(weights), "model", 1e9)


def test_the_first_verdict_after_a_restart_is_the_last_one_before_it() -> None:
    of = service(4)
    grouping = grouped(of, 0, 0, 1, 1)
    last = last_good(of, grouping, 29_001, 10_999)
    wish = Proposal(np.array([0.2, 0.3, 0.3, 0.2]), "test")
    nothing = Observation.unknown(NAME, ids(of))
    situation = Situation(of, nothing, Estimate.unknown(ids(of)), each(of), np.ones(4) / 4)
    verdict, memory = check(situation, wish, resumed(last, 50.0), 50.0)
    assert verdict.grouping.same_as(grouping)
    assert verdict.weights.by_group == (29_001, 10_999)
    assert verdict.changed, "the first push has to be sent"
    assert codes(verdict) == [Code.RESUMED]
    again, _ = check(situation, wish, memory, 51.0)
    assert again.weights.by_group == (29_001, 10_999)
    assert not again.changed


def test_a_restart_with_other_endpoints_keeps_the_relation_of_those_that_stayed() -> None:
    before = service(4)
    last = last_good(before, each(before), 8_000, 16_000, 8_000, 8_000)
    now = service(3)
    situation = Situation(
        now, Observation.unknown(NAME, ids(now)), Estimate.unknown(ids(now)), each(now), np.ones(3)
    )
    wish = Proposal(np.ones(3), "test")
    verdict, _ = check(situation, wish, resumed(last, 50.0), 50.0)
    assert verdict.weights.by_group == (7_500, 15_000, 7_500)
    assert codes(verdict) == [Code.RESUMED, Code.ENDPOINTS]


def test_frozen_by_a_person_nothing_moves_to_the_unit() -> None:
    life = Life(service(4))
    before = life.ask([0.3, 0.3, 0.2, 0.2]).weights
    life.frozen = "errors are up (by ann)"
    for _ in range(300):
        verdict = life.ask([1.0, 0.0, 0.0, 0.0])
        assert verdict.weights == before
        assert not verdict.changed
    assert text_of(verdict, Code.FROZEN) == "errors are up (by ann)"
    life.frozen = None
    assert life.ask([1.0, 0.0, 0.0, 0.0]).changed


def test_the_declared_freeze_holds_like_the_switch() -> None:
    life = Life(service(4))
    life.service = replace(life.service, guard=GuardSettings(frozen=True))
    verdict = life.ask([1.0, 0.0, 0.0, 0.0])
    assert not verdict.changed
    assert codes(verdict) == [Code.FROZEN]


def test_frozen_a_removed_endpoint_goes_and_the_others_keep_their_relation() -> None:
    life = Life(service(4))
    life.ask([0.3, 0.3, 0.2, 0.2])
    life.frozen = "stop"
    life.service = service(3)
    life.grouping = each(life.service)
    verdict = life.ask([0.0, 0.0, 1.0])
    assert verdict.changed
    assert verdict.shares == pytest.approx([0.3 / 0.8, 0.3 / 0.8, 0.2 / 0.8])


def test_a_service_without_endpoints_has_no_weights_and_no_trouble() -> None:
    life = Life(service(0))
    assert life.ask([]).weights.by_group == ()
    life.service = service(2)
    life.grouping = each(life.service)
    assert life.ask(None).weights.by_group == (10_000, 10_000)
    life.service = service(0)
    life.grouping = each(life.service)
    assert life.ask([]).weights.by_group == ()


def test_one_endpoint_gets_everything() -> None:
    life = Life(service(1))
    assert life.ask([0.2]).weights.by_group == (10_000,)


def test_of_two_endpoints_one_may_get_nine_tenths() -> None:
    life = Life(service(2))
    for _ in range(60):
        life.ask([1.0, 0.0])
    assert life.shares == pytest.approx([0.9, 0.1], abs=0.02)
    assert life.shares[0] <= 0.9 + 1e-9


def test_groups_that_do_not_match_the_endpoints_are_replaced_and_said_so() -> None:
    of = service(3)
    other = service(2)
    situation = Situation(
        of, look(of, 5.0), Estimate.unknown(ids(of)), grouped(other, 0, 1), np.ones(2) / 2
    )
    verdict, _ = check(situation, Proposal(np.ones(2) / 2, "test"), None, 5.0)
    assert verdict.grouping.endpoints == ids(of)
    assert verdict.grouping.names == ("all",)
    assert Code.GROUPING in codes(verdict)


def test_the_shares_in_force_are_seen_on_the_groups_of_a_new_question() -> None:
    life = Life(service(4))
    life.ask([0.3, 0.25, 0.25, 0.2])
    seen = shares_in_force(life.service, life.memory, grouped(life.service, 0, 0, 1, 1), life.now_s)
    assert seen == pytest.approx([0.55, 0.45])
    assert shares_in_force(life.service, None, each(life.service), 0.0) == pytest.approx([0.25] * 4)
