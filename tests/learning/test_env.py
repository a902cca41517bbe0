"""The environment: paired, repeatable, and made of the stages of serving."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from pettingzoo.test import parallel_api_test, parallel_seed_test
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from controlplane.model import Observation, Service
from controlplane.model.features import FEATURES
from policies.env.curriculum import Stage
from policies.env.draw import Draw
from policies.env.episodes import GROUPS
from policies.env.lockstep import Lockstep
from policies.env.machines import SharedMachines
from policies.env.paired import Paired
from policies.env.parallel import services, several
from policies.env.routing import Routing
from policies.env.service import EpisodesEnv, EpisodesVectorEnv, ServiceEnv
from policies.env.simulated import Simulated
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


def test_a_curriculum_draws_by_its_stages_in_turn_and_then_by_the_whole() -> None:
    def of(endpoints: int) -> Draw:
        return replace(SHORT, endpoints=(endpoints,), duration_s=4.0)

    steps, slots = 3, 2
    stages = (Stage(steps * slots, of(4)), Stage(2 * steps * slots, of(12)))
    world = Simulated(of(8), stages=stages)
    episodes = world.episodes(slots, seed=1)

    def drawn() -> float:
        table, ended = episodes.reset(), False
        count = np.exp(table[0, 0, FEATURES.index("endpoints")])
        while not ended:
            _, _, ended = episodes.step(np.zeros((slots, GROUPS)))
        return round(float(count))

    assert [drawn() for _ in range(4)] == [4, 12, 8, 8]
    episodes.seed(1)
    assert drawn() == 4
    assert all(not task.stages for task in world.tasks())


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


def test_new_shares_are_in_force_when_the_delay_of_the_case_is_over() -> None:
    """The same requests go where they would without a decision until then, and then they do not."""
    stages = Stages.installed()
    case = scenario("hardware_4x", seed=1, size=Size(8, 4, 0.6, 12.0))
    delays, decided_at_s = (0.0, 0.25, 0.6), 5.0
    cases = [(replace(case, delay_s=delay_s), 1, "model") for delay_s in (*delays, 0.0)]
    lockstep = Lockstep(stages, stages.decide.Policies.installed(), cases)
    while lockstep.now_s < decided_at_s:
        decided = lockstep.look()
    *proposals, _ = (one.proposal for one in decided)  # the last is never told of any
    lockstep.act(decided, [*proposals, None])
    lockstep.look()
    *told, untold = (loop.run._state for loop in lockstep._loops)
    came = untold.arrives_s < lockstep.now_s
    for delay_s, state in zip(delays, told, strict=True):
        other = state.arrives_s[came & (state.endpoint != untold.endpoint)]
        begin = decided_at_s + delay_s
        assert begin <= other.min() < begin + 0.05


@pytest.mark.parametrize(("orca", "noise"), [(True, 0.1), (True, 0.02), (True, 0.0), (False, 0.1)])
def test_what_endpoints_say_of_their_utilisation_has_the_error_of_the_case(
    orca: bool, noise: float
) -> None:
    looks: list[Observation] = []

    def asked(service: Service, look: Observation | None, *memory: object) -> object:
        if look is not None:
            looks.append(look)
        return decide.Asked(service, look, *memory)

    installed = Stages.installed()
    decide = installed.decide
    stages = replace(installed, decide=SimpleNamespace(Asked=asked, Decider=decide.Decider))
    case = scenario("homogeneous", seed=1, size=Size(8, 4, 0.6, 40.0))
    case = replace(case, orca=orca, telemetry_noise=noise)
    lockstep = Lockstep(stages, decide.Policies.installed(), [(case, 1, "model")])
    errors = []
    for _ in range(39):
        lockstep.look()
        (true,) = (loop.seen for loop in lockstep._loops)
        assert true is not None
        errors.append(looks[-1].utilisation / true.utilisation - 1.0)
    if not orca:
        assert np.isnan(errors).all()
        return
    # 312 of them: the mean within 4 standard errors, their spread within 4 of its own.
    assert np.mean(errors) == pytest.approx(0.0, abs=4.0 * noise / np.sqrt(312) + 1e-12)
    assert np.std(errors) == pytest.approx(noise, rel=4.0 / np.sqrt(2 * 312), abs=1e-12)


@pytest.mark.filterwarnings("ignore:.*alternative render modes.*")
@pytest.mark.filterwarnings("ignore:.*unconventional shape.*")  # the policy is our own
def test_the_toy_is_an_environment_too_and_stable_baselines_finds_nothing_wrong() -> None:
    check_env(EpisodesEnv(Routing()))
    sb3_check_env(EpisodesEnv(Routing()))
    sb3_check_env(ServiceEnv(SHORT))


def test_side_by_side_as_one_at_a_time() -> None:
    one, many = ServiceEnv(SHORT), EpisodesVectorEnv(Simulated(SHORT), 1)
    alone, _ = one.reset(seed=3)
    beside, _ = many.reset(seed=3)
    assert many.observation_space.contains(beside)
    ended = False
    while not ended:
        assert np.array_equal(alone, beside[0])
        action = one.action_space.sample()
        alone, reward, _, ended, _ = one.step(action)
        beside, rewards, terminated, truncated, _ = many.step(action[None])
        assert (reward, False, ended) == (rewards[0], terminated[0], truncated[0])
    first, rewards, _, truncated, _ = many.step(action[None])
    assert rewards[0] == 0.0
    assert not truncated[0]
    assert np.array_equal(first[0], one.reset()[0])


def test_statistics_of_gymnasium_wrap_the_vector() -> None:
    envs = RecordEpisodeStatistics(EpisodesVectorEnv(Routing(steps=4), 3))
    envs.reset(seed=1)
    infos = [envs.step(envs.action_space.sample())[4] for _ in range(4)]
    assert infos[-1]["episode"]["l"].tolist() == [4, 4, 4]


PARALLEL = {
    "simulated services, cooperative": lambda: services(SHORT, 2),
    "services that compete": lambda: several(SharedMachines.per_service(3), "service", 3),
    "regions": lambda: several(SharedMachines.per_region(3), "region", 3),
    "Envoys": lambda: several(SharedMachines.per_envoy(4), "envoy", 4),
}


@pytest.mark.parametrize("kind", PARALLEL)
def test_pettingzoo_finds_nothing_wrong_with_many_agents(kind: str) -> None:
    parallel_api_test(PARALLEL[kind](), num_cycles=15)
    parallel_seed_test(PARALLEL[kind], num_cycles=3)


def test_those_that_share_a_reward_get_the_same() -> None:
    env = services(SHORT, 3)
    env.reset(seed=1)
    actions = {name: env.action_space(name).sample() for name in env.agents}
    assert len(set(env.step(actions)[1].values())) == 1
