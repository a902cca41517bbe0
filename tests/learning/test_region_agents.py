"""Regions as agents on the simulator: beside `leastTime`, with one reward, a row for each zone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from controlplane.decide.learned import Learned
from controlplane.decide.queueing import QueueingModel
from controlplane.errors import PolicyLoadError
from controlplane.model.features import FEATURES
from controlplane.model.objective import Objective
from policies.agents.settings import Ppo, TeamPpo
from policies.agents.team import TeamVecEnv, team_ppo
from policies.env.draw import Draw
from policies.env.episodes import GROUPS
from policies.env.goals import TERMS
from policies.env.parallel import regions
from policies.env.regional import Regional
from policies.env.routing import Routing
from policies.env.simulated_regions import RegionEpisodes, SimulatedRegions, regional_draw
from policies.env.stages import Stages
from policies.simulator import Case, Size, scenario
from policies.training.recipe import FOLDER, Recipe, load
from policies.training.release import release
from policies.training.train import train

pytestmark = pytest.mark.learning

SHORT = replace(regional_draw(), duration_s=6.0)
BOTH = replace(SHORT, families={"two_regions": 1.0}, load=(0.6, 0.7))


class Played:
    """Draws always the same case."""

    def __init__(self, case: Case) -> None:
        self._case, self.duration_s, self.families = case, case.duration_s, {case.name: 1.0}

    def case(self, random: np.random.Generator) -> tuple[Case, int]:
        return self._case, 7


def test_pettingzoo_finds_nothing_wrong_with_regions() -> None:
    parallel_api_test(regions(SHORT), num_cycles=12)
    parallel_seed_test(lambda: regions(SHORT), num_cycles=2)


def test_no_correction_is_worth_exactly_nothing() -> None:
    episodes = SimulatedRegions(SHORT).episodes(6, seed=1)
    episodes.reset()
    ended = False
    while not ended:
        _, rewards, ended = episodes.step(np.zeros((6, GROUPS)))
        assert not rewards.any()
    assert episodes.ratios().tolist() == [1.0] * 6


def test_sending_away_what_is_served_best_at_home_costs_all_regions_alike() -> None:
    draw = replace(BOTH, duration_s=15.0)
    episodes = SimulatedRegions(draw, agents=2).episodes(4, seed=3)
    table, total, ended = episodes.reset(), np.zeros(4), False
    while not ended:
        # Towards the zone whose way is longer.
        away = np.sign(table[:, :, FEATURES.index("latency_middle")] - 1e-3)
        table, rewards, ended = episodes.step(away)
        total += rewards
    assert total[0] == total[1] < -0.1
    assert total[2] == total[3] < -0.1
    assert (episodes.ratios() > 1.0).all()


def test_a_region_that_is_not_there_sees_nothing() -> None:
    table = SimulatedRegions(BOTH, agents=3).episodes(3, seed=4).reset()
    assert not table[2].any()
    present = table[:2, :, FEATURES.index("present")]
    assert present.tolist() == [[1.0, 1.0, 0.0, 0.0]] * 2


def test_a_region_sees_its_way_and_its_part_of_the_requests() -> None:
    case = scenario("two_regions", seed=1, size=Size(load=0.5, proxies=16, duration_s=12.0))
    case = replace(case, region_traffic=(0.75, 0.25))
    world = SimulatedRegions(Played(case), agents=2)  # type: ignore[arg-type]
    episodes = world.episodes(2, seed=1)
    episodes.reset()
    for _ in range(10):
        table = episodes.step(np.zeros((2, GROUPS)))[0]
    asked = np.exp(table[:, 0, FEATURES.index("traffic_per_proxy")])
    assert asked == pytest.approx([0.75, 0.25], abs=0.06)
    way = table[:, :2, FEATURES.index("latency_middle")]
    assert way[0, 0] < way[0, 1]
    assert way[1, 1] < way[1, 0]


def test_a_correction_is_in_force_and_bounded() -> None:
    episodes = SimulatedRegions(replace(BOTH, duration_s=12.0), agents=2).episodes(2, seed=5)
    assert isinstance(episodes, RegionEpisodes)
    table, ended = episodes.reset(), False
    while not ended:
        table, _, ended = episodes.step(np.tile([9.0, -9.0, 0.0, 0.0], (2, 1)))
    moved = np.diff(table[:, :2, FEATURES.index("current_over_base")], axis=1)
    assert np.abs(moved).max() <= 1.4 + 0.2  # two bounds, and what the base moved meanwhile
    assert (moved < 0.0).all()


def test_more_regions_than_agents_are_refused() -> None:
    draw = replace(SHORT, families={"three_regions": 1.0})
    with pytest.raises(ValueError, match="3 regions"):
        SimulatedRegions(draw, agents=2).episodes(2, seed=1).reset()


def test_copies_of_a_team_are_measured_by_one_another() -> None:
    env = TeamVecEnv(SimulatedRegions(SHORT, agents=3).episodes(12, 1, 2), 3, True, 2)
    env.reset()
    env.step_async(np.random.default_rng(1).uniform(-1.0, 1.0, (12, 4)))
    _, rewards, _, _ = env.step_wait()
    cases = rewards.reshape(2, 2, 3)
    assert np.abs(cases).max() > 0.0
    assert cases.sum(axis=1) == pytest.approx(0.0, abs=1e-6)  # what one wins the other loses
    assert (cases == cases[..., :1]).all()  # the team is rewarded together


def test_a_world_without_teams_has_no_copies_of_them() -> None:
    settings = TeamPpo(slots=12, agents=3, copies=2, batch=12)
    with pytest.raises(ValueError, match="copies"):
        team_ppo(settings, Routing(), seed=1)


def rewards(objective: Objective, draw: Draw | Played = BOTH, discount: float = 0.9) -> np.ndarray:
    """(ticks, slots) of teams that correct their splits always alike."""
    world = SimulatedRegions(draw, 2, objective, discount)  # type: ignore[arg-type]
    episodes = world.episodes(4, seed=3)
    episodes.reset()
    actions = np.array([[1.0, -1.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0]] * 2)
    return np.stack([episodes.step(actions)[1] for _ in range(5)])


def test_regions_feel_each_goal_and_the_potential() -> None:
    plain = rewards(Objective())
    for name in (*TERMS, "fairness_potential"):
        if name != "errors":  # there are none
            weight: dict[str, Any] = {name: 3.0}
            assert not np.array_equal(rewards(Objective(**weight)), plain), name
    even = Objective(fairness_potential=3.0)
    assert not np.array_equal(rewards(even, discount=1.0), rewards(even)), "of the learner"


def test_regions_feel_what_their_endpoints_did_and_cost() -> None:
    priced = replace(BOTH, prices=(1.0, 3.0))
    case, seed = priced.case(np.random.default_rng(1))
    plays = Regional(Stages.installed(), case, seed)
    for _ in range(4):
        plays.tick()
        felt = plays.felt()
        assert felt.workers.tolist() == [station.workers for station in case.stations]
        assert felt.price.tolist() == [station.price for station in case.stations]
        assert 0.0 < felt.utilisation.max() <= 1.0
        assert len(set(felt.utilisation.tolist())) > 1
    dear = Objective(cost=3.0)
    assert not np.array_equal(rewards(dear, priced), rewards(dear)), "the requests are the same"


def test_regions_feel_what_classes_of_requests_are_worth() -> None:
    case = scenario("two_regions", seed=1, size=Size(load=0.7, proxies=16, duration_s=8.0))
    played = Played(replace(case, classes=scenario("mixed_classes", seed=1).classes))
    alike = Objective(value=3.0, slo_latency_s=0.1)
    dear = replace(alike, class_values={"report": 10.0})
    assert not np.array_equal(rewards(dear, played), rewards(alike, played))


def quick() -> Recipe:
    """Two rollouts of two teams on cases of a few seconds."""
    recipe = load(FOLDER / "regions-ppo.yaml")
    draw = replace(recipe.scenarios, duration_s=5.0, seeds=(0, 50))
    assert isinstance(recipe.settings, TeamPpo)
    settings = replace(recipe.settings, slots=6, copies=2, batch=24, epochs=1)
    return replace(
        recipe, steps=48, scenarios=draw, settings=settings, check_every=1, check_cases=3
    )


def test_the_recipe_trains_a_team_of_regions_the_same_for_a_seed_and_serving_refuses_it(
    tmp_path: Path,
) -> None:
    one, other = train(quick()), train(quick())
    assert [point.reward for point in one.curve] == [point.reward for point in other.curve]
    assert any(point.reward != 0.0 for point in one.curve)
    assert release(one, tmp_path / "made") == {}
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    assert manifest["base"] == "leastTime"
    with pytest.raises(PolicyLoadError, match="correct model"):
        Learned(QueueingModel(), tmp_path / "made")


def test_regions_are_a_team() -> None:
    recipe = quick()
    with pytest.raises(ValueError, match="regions are a team"):
        replace(recipe, algorithm="ppo", settings=Ppo())
    with pytest.raises(ValueError, match="machines shared: the base there is model alone"):
        replace(recipe, machines="shared")
    assert isinstance(recipe.world, SimulatedRegions)
    assert recipe.world.discount == recipe.settings.discount, "for a potential"
