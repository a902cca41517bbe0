"""The environment: paired, repeatable, and made of the stages of serving."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from controlplane.model.features import FEATURES
from policies.env.draw import Draw
from policies.env.lockstep import Lockstep
from policies.env.paired import GROUPS, Paired
from policies.env.service import ServiceEnv
from policies.env.stages import Stages
from policies.simulator import Size, scenario

pytestmark = pytest.mark.learning

SHORT = Draw(families={"hardware_4x": 1.0}, endpoints=(8,), proxies=(16,), duration_s=12.0)
PRESENT = FEATURES.index("present")


@pytest.mark.filterwarnings("ignore:.*alternative render modes.*")
def test_gymnasium_finds_nothing_wrong_with_it() -> None:
    check_env(ServiceEnv(SHORT))


def test_doing_as_the_base_does_is_worth_exactly_nothing() -> None:
    paired = Paired(SHORT, slots=3, seed=1)
    paired.reset()
    ended = False
    while not ended:
        _, rewards, ended = paired.step(np.zeros((3, GROUPS)))
        assert rewards.tolist() == [0.0, 0.0, 0.0]
    assert all(ours.mean_s == theirs.mean_s for ours, theirs in paired.episodes)


def test_sending_the_slow_more_than_the_base_does_costs() -> None:
    paired = Paired(SHORT, slots=4, seed=2, copies=2)
    table, total, ended = paired.reset(), np.zeros(4), False
    while not ended:
        capacity = table[:, :, FEATURES.index("capacity")]
        wrong = np.where(capacity < 0, 1.0, -1.0) * table[:, :, PRESENT]
        actions = np.where(np.arange(4)[:, None] % 2 == 0, wrong, 0.0)
        table, rewards, ended = paired.step(actions)
        total += rewards
    assert total[0] < -0.5
    assert total[2] < -0.5
    assert total[1] == total[3] == 0.0


def test_a_seed_repeats_an_episode() -> None:
    def played(seed: int) -> float:
        env = ServiceEnv(SHORT)
        table, _ = env.reset(seed=seed)
        total, ended = float(table.sum()), False
        while not ended:
            table, reward, _, ended, _ = env.step(np.full(GROUPS, 0.3, np.float32))
            total += reward + float(table.sum())
        return total

    assert played(3) == played(3) != played(4)


def test_features_are_numbers_from_the_first_tick_on_in_every_family() -> None:
    paired = Paired(Draw(duration_s=5.0), slots=16, seed=5)
    table, ended = paired.reset(), False
    while not ended:
        assert np.isfinite(table).all()
        assert np.abs(table).max() <= 4.0
        assert (table[:, 0, PRESENT] == 1.0).all()
        table, _, ended = paired.step(np.zeros((16, GROUPS)))


def test_a_service_that_scales_out_is_balanced_over_its_new_endpoints_too() -> None:
    stages = Stages.installed()
    case = scenario("scale_out", seed=1, size=Size(8, 4, 0.6, 30.0))
    lockstep = Lockstep(stages, stages.decide.Policies.installed(), [(case, 1, "model")])
    seen = set()
    while lockstep.now_s < 30.0:
        decided = lockstep.look()
        seen.add(len(decided[0].situation.grouping.endpoints))
        lockstep.act(decided, [one.proposal for one in decided])
    assert seen == {6, 8}
