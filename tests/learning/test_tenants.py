"""Services on the same machines: queueing theory where it has an answer, and agents on them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test, parallel_seed_test

from controlplane.model import Grouping
from controlplane.model.features import FEATURES
from controlplane.model.objective import Objective
from controlplane.model.observation import Floats
from policies.agents.settings import Ppo, TeamPpo
from policies.env.episodes import GROUPS
from policies.env.goals import TERMS
from policies.env.machines import settled
from policies.env.parallel import envoys, services_on_machines
from policies.env.simulated_machines import UNTOLD, SimulatedMachines, machines_draw
from policies.simulator import (
    Algorithm,
    Balancing,
    Case,
    Outcome,
    Simulation,
    Station,
    Steps,
    Traffic,
    Work,
    endpoint_id,
    tenants,
)
from policies.training.recipe import FOLDER, Recipe, load
from policies.training.train import train

pytestmark = pytest.mark.learning

SHORT = replace(machines_draw(), duration_s=6.0)


def machines(
    speeds: tuple[float, ...], rate: float, *, sharing: bool = False, requests: int = 400_000
) -> Case:
    """Machines of one worker, exponential work of mean 1, requests picked by weights alone."""
    return Case(
        "shared",
        tuple(Station(1, Steps.of(speed), sharing=sharing) for speed in speeds),
        Traffic(Steps.of(rate)),
        Work(1.0),
        duration_s=requests / rate,
        timeout_s=math.inf,
        queue_limit=10**6,
        balancing=Balancing(Algorithm.RANDOM, eject_after=0),
    )


def felt(case: Case, shares: Floats | None = None) -> list[Outcome]:
    """What the requests of each service get, after a tenth of the run."""
    run = Simulation(case, seed=3)
    if shares is not None:
        n = len(case.stations)
        ids = tuple(endpoint_id(i) for i in range(n))
        run.split(Grouping(ids, tuple(f"m{i}" for i in range(n)), np.arange(n)), shares)
    run.advance(0.1 * case.duration_s)
    run.outcome_by_class()
    run.advance(case.duration_s)
    run.drain()
    by_class = run.outcome_by_class()
    return [by_class[name] for name in case.regions]


def means(outcomes: list[Outcome]) -> list[float]:
    return [one.mean_s for one in outcomes]


def test_two_services_on_one_machine_wait_in_one_m_m_1() -> None:
    """1 / (mu - lambda_1 - lambda_2) for both, however the load is split among them."""
    case = tenants(machines((1.0,), 0.7), ("a", "b"), (0.3, 0.7))
    got = felt(case)
    assert means(got) == pytest.approx([1.0 / 0.3] * 2, rel=0.05)
    assert got[0].requests / (got[0].requests + got[1].requests) == pytest.approx(0.3, abs=0.01)


def test_first_come_first_served_both_wait_as_long_and_take_their_own_work() -> None:
    """M/G/1 with two classes (Pollaczek-Khinchine): W = sum of lambda_i E[S_i^2] / 2 (1 - rho)."""
    case = tenants(machines((1.0,), 0.5), ("cheap", "dear"), (0.8, 0.2), (0.5, 3.0))
    rho = 0.5 * (0.8 * 0.5 + 0.2 * 3.0)
    waits = 0.5 * (0.8 * 2 * 0.5**2 + 0.2 * 2 * 3.0**2) / (2.0 * (1.0 - rho))
    assert means(felt(case)) == pytest.approx([waits + 0.5, waits + 3.0], rel=0.05)


def test_where_workers_are_shared_each_takes_longer_by_the_same_factor() -> None:
    """Processor sharing: E[S_i] / (1 - rho), whatever the other's work is."""
    case = tenants(machines((1.0,), 0.5, sharing=True), ("cheap", "dear"), (0.8, 0.2), (0.5, 3.0))
    rho = 0.5 * (0.8 * 0.5 + 0.2 * 3.0)
    assert means(felt(case)) == pytest.approx([0.5 / (1.0 - rho), 3.0 / (1.0 - rho)], rel=0.05)


def test_at_the_equilibrium_of_theory_no_service_gains_by_moving() -> None:
    """Competitive routing (Orda, Rom, Shimkin 1993): the shares of Nash, played in real queues."""
    speeds, part, rate = (1.0, 2.0), (0.4, 0.6), 2.1
    capacity, demand = np.array([speeds]), rate * np.array([part])
    start = np.broadcast_to(capacity / capacity.sum(), (1, 2, 2))
    nash = settled(capacity, demand, np.zeros((1, 2, 2)), start, shared=False)[0]
    # Each proxy splits by a schedule; together two hundred are as good as Poisson.
    case = tenants(replace(machines(speeds, rate), proxies=200), ("a", "b"), part)
    expected = (nash / (capacity[0] - demand[0] @ nash)).sum(axis=1)
    there = means(felt(case, nash))
    assert there == pytest.approx(expected.tolist(), rel=0.05)
    for step in (-0.2, 0.2):
        moved = nash.copy()
        moved[0] += (step, -step)
        assert means(felt(case, moved))[0] > there[0]


def test_each_service_sees_its_own_requests_alone() -> None:
    case = tenants(machines((1.0, 1.0), 1.0, requests=20_000), ("a", "b"), (0.25, 0.75))
    run = Simulation(case, seed=1)
    run.advance(case.duration_s)
    a, b = (one.succeeded.sum() for one in run.telemetry_by_region())
    assert a / (a + b) == pytest.approx(0.25, abs=0.02)


def test_machines_are_shared_in_one_region_by_services_with_names() -> None:
    case = machines((1.0,), 0.5, requests=100)
    with pytest.raises(ValueError, match="a name of its own"):
        tenants(case, ("a", "a"))
    with pytest.raises(ValueError, match="one region"):
        tenants(tenants(case, ("a", "b")), ("a", "b"))
    late = replace(case, stations=(*case.stations, Station(joins_s=3.0)))
    with pytest.raises(ValueError, match="from the start"):
        tenants(late, ("a", "b"))
    with pytest.raises(ValueError, match="the part of its region"):
        replace(tenants(case, ("a", "b")), region_traffic=(0.3, 0.7))


ENVIRONMENTS = {
    "each for itself": lambda: services_on_machines(SHORT, 2),
    "with one reward": lambda: services_on_machines(SHORT, 2, shared=True),
    "Envoys": lambda: envoys(SHORT, 3),
}


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_pettingzoo_finds_nothing_wrong(kind: str) -> None:
    parallel_api_test(ENVIRONMENTS[kind](), num_cycles=12)
    parallel_seed_test(ENVIRONMENTS[kind], num_cycles=2)


def test_doing_as_the_base_does_is_worth_exactly_nothing() -> None:
    episodes = SimulatedMachines.per_service(SHORT).episodes(6, seed=1)
    episodes.reset()
    ended = False
    while not ended:
        _, rewards, ended = episodes.step(np.zeros((6, GROUPS)))
        assert not rewards.any()


def test_what_one_service_does_the_others_on_its_machines_feel() -> None:
    """All that one sends goes to slow machines: it suffers, and those beside it do too."""
    draw = replace(SHORT, families={"hardware_4x": 1.0}, load=(0.7, 0.8), duration_s=20.0)
    episodes = SimulatedMachines.per_service(draw, 2).episodes(4, seed=2)
    table, ended = episodes.reset(), False
    while not ended:
        capacity = table[:, :, FEATURES.index("capacity")]
        slow = np.where(capacity < 0.0, 1.0, -1.0)
        slow[1::2] = 0.0  # the second of each team does as the base
        table, _, ended = episodes.step(slow)
    ratios = episodes.ratios()
    assert (ratios[::2] > 1.02).all()
    assert (ratios[1::2] != 1.0).all()


def test_envoys_send_as_much_as_one_another() -> None:
    world = SimulatedMachines.per_envoy(SHORT, 4)
    case, _ = world.case(np.random.default_rng(1))
    assert case.region_traffic == (0.25,) * 4
    assert case.proxies == 4


def rewards(objective: Objective, discount: float = 0.9) -> np.ndarray:
    """(ticks, slots) of services that correct their splits always alike."""
    world = replace(SimulatedMachines.per_service(SHORT, 2), objective=objective, discount=discount)
    episodes = world.episodes(4, seed=2)
    episodes.reset()
    actions = np.tile([1.0, -1.0, 0.0, 0.0], (4, 1))
    return np.stack([episodes.step(actions)[1] for _ in range(5)])


def test_those_who_share_machines_feel_each_goal_that_is_not_refused() -> None:
    plain = rewards(Objective())
    for name in {*TERMS, "fairness_potential"} - {*UNTOLD, "errors"}:
        weight: dict[str, Any] = {name: 3.0}
        assert not np.array_equal(rewards(Objective(**weight)), plain), name
    even = Objective(fairness_potential=3.0)
    assert not np.array_equal(rewards(even, discount=1.0), rewards(even)), "of the learner"


@pytest.mark.parametrize("recipe", ["shared-machines-ppo", "envoys-ppo"])
@pytest.mark.parametrize("term", ["cost", "energy", "value"])
def test_a_goal_that_cannot_be_felt_on_shared_machines_is_refused(recipe: str, term: str) -> None:
    asked: dict[str, Any] = {term: 1.0}
    advice = "slo" if term == "value" else "own"
    with pytest.raises(ValueError, match=f"objective: {term} cannot .* `shared` .*`{advice}`"):
        replace(load(FOLDER / f"{recipe}.yaml"), objective=Objective(**asked))


def quick(name: str, slots: int) -> Recipe:
    """Two rollouts on cases of a few seconds."""
    recipe = load(FOLDER / f"{name}.yaml")
    draw = replace(recipe.scenarios, duration_s=5.0)
    assert isinstance(recipe.settings, TeamPpo)
    settings = replace(recipe.settings, slots=slots, copies=1, batch=4 * slots, epochs=1)
    return replace(
        recipe,
        steps=8 * slots,
        scenarios=draw,
        settings=settings,
        check_every=1,
        check_cases=settings.agents,
    )


@pytest.mark.parametrize(("name", "slots"), [("shared-machines-ppo", 6), ("envoys-ppo", 8)])
def test_the_recipes_train_the_same_for_a_seed(name: str, slots: int) -> None:
    recipe = quick(name, slots)
    assert isinstance(recipe.world, SimulatedMachines)
    assert recipe.world.discount == recipe.settings.discount, "for a potential"
    one, other = train(recipe), train(recipe)
    assert one.curve == other.curve
    assert one.curve[-1].step == recipe.steps
    assert any(point.reward != 0.0 for point in one.curve)
    ours, theirs = one.actor.state_dict(), other.actor.state_dict()
    assert all(torch.equal(ours[part], theirs[part]) for part in ours)
    with pytest.raises(ValueError, match="no team to share"):
        replace(recipe, algorithm="ppo", settings=Ppo())


def test_the_envoys_of_a_recipe_are_its_agents() -> None:
    recipe = load(FOLDER / "envoys-ppo.yaml")
    assert isinstance(recipe.settings, TeamPpo)
    envoys = SimulatedMachines.per_envoy(recipe.scenarios, recipe.settings.agents)
    assert recipe.world == replace(envoys, discount=recipe.settings.discount)
    many = replace(recipe.scenarios, proxies=(12, 24))
    with pytest.raises(ValueError, match=r"`proxies` of the scenarios is \[8\], not \[12, 24\]"):
        replace(recipe, scenarios=many)
    with pytest.raises(ValueError, match="wanted own, shared or envoys, got 'theirs'"):
        replace(recipe, machines="theirs")
