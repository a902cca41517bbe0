"""A policy adapted to one service: what moves, what stays, and that later minutes are judged."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from policies.agents.adaptation import Adaptation, Scaled, adapted_to
from policies.agents.network import Actor
from policies.agents.repeat import repeatable
from policies.env.one_service import OneService, Staying
from policies.env.paired import Paired
from policies.league.suite import Fixture
from policies.simulator import Outcome
from policies.simulator.state import BIN_FROM, BIN_WIDTH, BINS
from policies.training.new_service import (
    EPISODES,
    JUDGED_BY,
    LEARNED_FROM,
    Services,
    Windows,
    blank,
    decides,
    five_minutes,
    judged,
    minutes,
    quantile_s,
    services,
)
from policies.training.toy import LESSONS
from policies.training.watch import validate

pytestmark = pytest.mark.learning

HOW = Adaptation(rate=5e-3, rounds=6, copies=8)
FIXTURE = Fixture("sparse", 0.7, 4, 2, 3_004_000)


def far(seed: int) -> Actor:
    """A policy that says something of every group."""
    repeatable(seed)
    actor = Actor(16, 2, centred=True)
    nn.init.normal_(actor.head.weight, std=0.5)
    return actor


def test_episodes_of_a_kind_of_service_make_a_policy_better_at_it() -> None:
    """On the toy, whose optimum is known: below the base, which is 1, and above the optimum."""
    world = LESSONS["ppo"].world.tasks()[0]
    after = adapted_to(blank(1), world.episodes(32, 3, 8), HOW, 1)
    unseen = world.episodes(64, 4)
    assert validate(unseen, after) < validate(unseen, blank(1)) - 0.002


def test_the_same_seed_adapts_alike_and_leaves_the_start() -> None:
    world, start = LESSONS["ppo"].world, far(2)
    before = {name: one.clone() for name, one in start.state_dict().items()}
    first, again = (adapted_to(start, world.episodes(16, 3, 8), HOW, 1) for _ in range(2))
    for name, one in first.state_dict().items():
        assert torch.equal(one, again.state_dict()[name])
        assert torch.equal(before[name], start.state_dict()[name])


def test_only_what_is_named_moves() -> None:
    start = far(3)
    after = adapted_to(
        start, LESSONS["ppo"].world.episodes(16, 3, 8), replace(HOW, only="head."), 1
    )
    for name, one in after.named_parameters():
        same = torch.equal(one, start.state_dict()[name])
        assert same != name.startswith("head.")
    with pytest.raises(ValueError, match="begins with 'tail'"):
        adapted_to(start, minutes(FIXTURE.case(), 8, 8, (0, 9), 1), replace(HOW, only="tail"), 1)


def test_minutes_are_of_one_service_with_requests_of_their_own() -> None:
    case = FIXTURE.case()
    random = np.random.default_rng(1)
    seen = OneService(service=case, seeds=LEARNED_FROM)
    drawn = [seen.case(random) for _ in range(20)]
    assert all(one is case for one, _ in drawn)
    assert len({seed for _, seed in drawn}) == 20
    later = OneService(service=case, seeds=JUDGED_BY)
    assert not {seed for _, seed in drawn} & {later.case(random)[1] for _ in range(20)}
    with pytest.raises(ValueError, match="does not last so"):
        OneService(service=case, duration_s=60.0)


def bases(episodes: Paired, copies: int = 1) -> set[tuple[int, float]]:
    """What the base got in each window that is dealt next: other requests give other sums."""
    table, ended = episodes.reset(), False
    while not ended:
        table, _, ended = episodes.step(np.zeros(table.shape[:2], np.float32))
    return {(base.requests, base.latency_sum_s) for _, base in episodes.episodes[::copies]}


def test_five_minutes_are_eight_windows_with_other_requests_and_the_next_five_others() -> None:
    case = FIXTURE.case()
    played = five_minutes(case, 3)
    first, later = bases(played), bases(played)
    assert len(first) == len(later) == EPISODES
    assert not first & later
    assert bases(five_minutes(case, 3)) == first  # all ways learn from the same ones
    assert bases(five_minutes(case, 4)).isdisjoint(first)
    others = bases(minutes(case, 2 * 6, 2, JUDGED_BY, 3), 2)
    assert len(others) == 6
    assert not others & (first | later)


def test_no_window_comes_twice() -> None:
    few = Windows(service=FIXTURE.case(), seeds=(5, 45))
    random = np.random.default_rng(1)
    assert {few.case(random)[1] for _ in range(40)} == set(range(5, 45))


def test_meta_training_plays_one_service_in_all_slots_in_windows_of_its_own() -> None:
    played = Services(stays=2).episodes(4, 1, copies=4)
    windows = [bases(played), bases(played)]
    assert [len(one) for one in windows] == [4, 4]
    assert not windows[0] & windows[1]
    draw = Staying(draws=8)
    random = np.random.default_rng(1)
    assert len({id(draw.case(random)[0]) for _ in range(8)}) == 1
    with pytest.raises(ValueError, match="the same service"):
        Services(stays=1).episodes(4, 1, copies=2)


def test_a_quantile_is_told_more_finely_than_bins_are_wide() -> None:
    latencies = 0.001 + np.random.default_rng(1).exponential(0.05, 200_000)
    for shift in (1.0, 1.002, 1.004, 1.007):
        moved = shift * latencies
        bins = ((np.log(moved) - BIN_FROM) / BIN_WIDTH).astype(np.int64)
        histogram = np.bincount(bins, minlength=BINS)
        felt = Outcome(len(moved), 0, float(moved.sum()), histogram)
        for q in (0.5, 0.99):
            assert quantile_s(felt, q) == pytest.approx(np.quantile(moved, q), rel=1e-3)
    assert np.isnan(quantile_s(Outcome(0, 0, 0.0, np.zeros(BINS, np.int64)), 0.99))


def test_a_service_stays_for_as_many_draws_as_it_is_told() -> None:
    draw, random = Staying(draws=2), np.random.default_rng(1)
    cases = [draw.case(random)[0] for _ in range(6)]
    assert [a is b for a, b in pairwise(cases)] == [True, False] * 2 + [True]


def test_all_are_judged_on_the_same_requests_and_the_base_is_1() -> None:
    actor = far(4)
    got = judged({"base": Scaled(actor, 0.0), "it": actor, "it again": actor}, FIXTURE.case(), 1, 5)
    assert (got["base"].mean, got["base"].p99, got["base"].errors) == (1.0, 1.0, 0.0)
    assert got["it"] == got["it again"]
    assert got["it"].mean != 1.0


def test_there_is_something_to_decide_where_machines_are_unlike() -> None:
    assert decides(Fixture("sparse", 0.7, 8, 32, 3_008_000).case())
    assert not decides(Fixture("homogeneous", 0.7, 4, 2, 3_004_000).case())


def test_services_that_are_adapted_to_are_in_no_training() -> None:
    found = services(("degradation", "sparse_50"), 3_000_000, 2)
    assert len({one.service for one in found}) == 4
    assert {one.load for one in found} == {0.7, 0.85}
    assert {one.held_out for one in found} == {"families"}
