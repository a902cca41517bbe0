"""Objectives: each term by hand, and a potential that leaves what is best as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from controlplane.model.features import FEATURES
from controlplane.model.objective import Objective
from policies.agents.registry import algorithm
from policies.agents.settings import Ppo
from policies.env.draw import Draw, Drawn
from policies.env.episodes import GROUPS
from policies.env.goals import TERMS, Felt, cost, jain, shaped, value, worth
from policies.env.lockstep import Lockstep
from policies.env.paired import Paired, advantage
from policies.env.routing import by_capacity, mean_s
from policies.env.simulated import Simulated
from policies.env.stages import Stages
from policies.simulator import Outcome, Steps
from policies.simulator.state import BIN_FROM, BIN_WIDTH, BINS
from policies.training.recipe import FOLDER, Recipe, load
from policies.training.watch import validate

pytestmark = pytest.mark.learning

SHORT = Draw(families={"hardware_4x": 1.0}, endpoints=(8,), proxies=(16,), duration_s=8.0)


_ONES: dict[str, Any] = dict.fromkeys(TERMS, 1.0)
EVERYTHING = Objective(**_ONES)


def outcome(*latencies_s: float, failed: int = 0) -> Outcome:
    histogram = np.zeros(BINS, np.int64)
    for one in latencies_s:
        histogram[int((np.log(one) - BIN_FROM) / BIN_WIDTH)] += 1
    return Outcome(len(latencies_s) + failed, failed, sum(latencies_s), histogram)


FELT = Felt(
    outcome=outcome(0.1, 0.1, 0.4, failed=1),
    utilisation=np.array([0.2, 0.6]),
    workers=np.array([4.0, 4.0]),
    price=np.array([1.0, 3.0]),
    by_class={"gold": outcome(0.1), "": outcome(0.1, 0.4, failed=1)},
)


@pytest.mark.parametrize(
    ("term", "wanted"),
    [
        ("latency_mean", -np.log(0.2)),
        ("latency_p99", -np.log(0.4)),
        ("errors", -0.25),
        ("fairness", np.log(0.8**2 / (2 * 0.4))),
        ("cost", -np.log((0.8 + 3 * 2.4) / 4)),
        ("energy", -np.log(4 * (0.6 + 0.8) / 4)),
        ("slo", 0.5),
        ("value", 11 / 13),
    ],
)
def test_a_term_by_hand(term: str, wanted: float) -> None:
    objective = Objective(class_values={"gold": 10.0})
    assert TERMS[term](FELT, objective) == pytest.approx(wanted, abs=0.03)


def test_every_weight_has_its_term_and_every_term_its_weight() -> None:
    others = {"fairness_potential", "slo_latency_s", "class_values"}
    assert set(TERMS) == set(Objective.__dataclass_fields__) - others
    for name in TERMS:
        weights: dict[str, Any] = {**dict.fromkeys(TERMS, 0.0), name: 2.0}
        alone = Objective(**weights)
        assert worth(FELT, alone) == pytest.approx(2.0 * TERMS[name](FELT, alone))


def test_no_requests_are_worth_a_number() -> None:
    nothing = Felt(outcome())
    assert np.isfinite(worth(nothing, EVERYTHING))


def test_jains_index() -> None:
    assert jain(np.ones(5)) == 1.0
    assert jain(np.array([1.0, 0.0, 0.0, 0.0])) == 0.25


@pytest.mark.parametrize("wrong", [{"errors": -1.0}, {"slo_latency_s": 0.0}, {"cost": np.inf}])
def test_an_objective_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="objective"):
        Objective(**wrong)
    with pytest.raises(ValueError, match="no goal counts"):
        Objective(latency_mean=0.0, errors=0.0)


# --- the potential: two servers, moves of one group against the other, solved exactly ------------

LEVELS = np.linspace(-1.0, 1.0, 21)
DISCOUNT = 0.9


def best_moves(extra: str) -> np.ndarray:
    """(levels,) the best of down, stay, up at each level, by value iteration."""
    capacity = np.tile([[1.0, 3.0]], (len(LEVELS), 1))
    demand = np.full(len(LEVELS), 2.0)
    base = by_capacity(capacity)
    moved = base * np.exp(0.7 * np.stack([-LEVELS, LEVELS], axis=1))
    shares = moved / moved.sum(axis=1, keepdims=True)
    reward = -np.log(mean_s(capacity, demand, shares) / mean_s(capacity, demand, base))
    fair = np.array([np.log(jain(demand[0] * row / capacity[0])) for row in shares])
    there = np.clip(np.arange(len(LEVELS))[:, None] + [-1, 0, 1], 0, len(LEVELS) - 1)
    gain = reward[there]
    if extra == "potential":
        gain = gain + np.array(
            [[shaped(fair[i], fair[j], DISCOUNT, ended=False) for j in row]
             for i, row in enumerate(there)]
        )  # fmt: skip
    if extra == "reward":
        gain = gain + fair[there]
    values = np.zeros(len(LEVELS))
    for _ in range(400):
        values = (gain + DISCOUNT * values[there]).max(axis=1)
    return np.asarray((gain + DISCOUNT * values[there]).argmax(axis=1))


def test_fairness_as_a_potential_leaves_the_optimum_and_as_a_reward_does_not() -> None:
    assert np.array_equal(best_moves("potential"), best_moves("nothing"))
    assert not np.array_equal(best_moves("reward"), best_moves("nothing"))


def test_what_a_potential_adds_to_an_episode_is_its_end_less_its_beginning() -> None:
    promised = np.random.default_rng(1).normal(size=12)
    steps = [
        DISCOUNT**i * shaped(promised[i], promised[i + 1], DISCOUNT, ended=i == 10)
        for i in range(11)
    ]
    assert sum(steps) == pytest.approx(-promised[0])


# --- in the environment --------------------------------------------------------------------------


def rewards(objective: Objective) -> np.ndarray:
    paired = Paired(SHORT, slots=2, seed=2, objective=objective, discount=DISCOUNT)
    paired.reset()
    actions = np.tile(np.linspace(0.4, -0.4, GROUPS), (2, 1))
    return np.stack([paired.step(actions)[1] for _ in range(5)])


def test_each_goal_and_the_potential_are_felt_in_the_environment() -> None:
    plain = rewards(Objective())
    for name in (*TERMS, "fairness_potential"):
        if name != "errors":
            weight: dict[str, Any] = {name: 3.0}
            assert not np.array_equal(rewards(Objective(**weight)), plain), name


def test_doing_as_the_base_is_worth_nothing_whatever_the_goals() -> None:
    paired = Paired(SHORT, slots=2, seed=3, objective=EVERYTHING)
    paired.reset()
    for _ in range(4):
        assert not paired.step(np.zeros((2, GROUPS)))[1].any()


# --- what is learned ------------------------------------------------------------------------------


class FastAndFailing(Draw):
    """The fast half of the machines fail one request of ten, and nobody ejects them for it."""

    __slots__ = ()

    def case(self, random: np.random.Generator) -> Drawn:
        """A case and the seed of its requests."""
        case, seed = Draw.case(self, random)
        fastest = max(one.speed.at(0.0) for one in case.stations)
        stations = tuple(
            replace(one, fails=Steps.of(0.1)) if one.speed.at(0.0) == fastest else one
            for one in case.stations
        )
        rules = replace(case.balancing, eject_after=0, success_rate_factor=0.0)
        return replace(case, stations=stations, balancing=rules), seed


TEMPTING = FastAndFailing(
    families={"hardware_4x": 1.0},
    endpoints=(8,),
    proxies=(16,),
    load=(0.5, 0.6),
    sampling=(1.0,),
    duration_s=8.0,
)


def towards_the_fast(objective: Objective) -> float:
    """What the policy that is learned for it does to the fast group, less what to the slow one."""
    settings = Ppo(
        slots=16, copies=8, width=16, layers=1, discount=0.0, batch=112, epochs=10,
        target_kl=0.05, centred=True, learning_rate=1e-2, deviation=0.3,
    )  # fmt: skip
    recipe = Recipe("tempted", 3_360, scenarios=TEMPTING, objective=objective, settings=settings)
    learner = algorithm(recipe.algorithm).learner(settings, recipe.world, recipe.seed)
    learner.learn(recipe.steps, lambda *_: None)
    actor, episodes = learner.actor(), Simulated(TEMPTING).episodes(8, 99)
    table = episodes.reset()
    for _ in range(5):
        table, _, _ = episodes.step(np.zeros((8, GROUPS)))
    with torch.no_grad():
        actions = actor(torch.from_numpy(table)).numpy()
    there = table[:, :, FEATURES.index("present")] > 0
    capacity = np.where(there, table[:, :, FEATURES.index("capacity")], np.nan)
    cases = np.arange(8)
    fast, slow = np.nanargmax(capacity, axis=1), np.nanargmin(capacity, axis=1)
    assert (fast != slow).all(), "classes are told apart by then"
    return float((actions[cases, fast] - actions[cases, slow]).mean())


def test_what_is_learned_goes_by_the_objective() -> None:
    """The base holds back a little from what fails: for time alone that is too much, and for
    errors alone too little."""
    for_errors = towards_the_fast(Objective(latency_mean=0.0, errors=5.0))
    for_time = towards_the_fast(Objective(latency_mean=1.0, errors=0.0))
    assert for_errors < -0.2
    assert for_time > 0.2


class AwayFromTheFast(nn.Module):  # type: ignore[misc]
    """Takes some of its share from the group that can do the most."""

    def __init__(self, by: float = 0.5) -> None:
        super().__init__()
        self._by = by

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b, g)."""
        there = table[:, :, FEATURES.index("present")] > 0
        capacity = table[:, :, FEATURES.index("capacity")].masked_fill(~there, -torch.inf)
        most: Tensor = capacity == capacity.amax(dim=1, keepdim=True)
        return -self._by * (most & there).float()


def test_what_is_kept_is_judged_by_the_objective() -> None:
    """Away from what is fast and fails: better by errors, worse by the mean of successes."""
    episodes = Simulated(TEMPTING, Objective(latency_mean=0.0, errors=5.0)).episodes(16, 1)
    for_errors = Objective(latency_mean=0.0, errors=5.0)
    assert validate(episodes, AwayFromTheFast(), for_errors) < 1.0
    assert validate(episodes, AwayFromTheFast()) > 1.0
    assert validate(episodes, AwayFromTheFast(by=0.0), for_errors) == 1.0  # the base


# --- prices, and classes of requests ------------------------------------------------------------


def felt_of(draw: Draw, seed: int, ticks: int) -> list[list[Felt]]:
    """What was felt at each tick of a case under `model`."""
    stages = Stages.installed()
    drawn = draw.case(np.random.default_rng(seed))
    lockstep = Lockstep(stages, stages.decide.Policies.installed(), [(*drawn, "model")])
    felt = []
    for _ in range(ticks):
        decided = lockstep.look()
        lockstep.act(decided, [one.proposal for one in decided])
        felt.append(lockstep.felt())
    return felt


def test_endpoints_cost_what_was_drawn_for_them() -> None:
    priced = replace(SHORT, prices=(1.0, 3.0))
    case, _ = priced.case(np.random.default_rng(1))
    prices = np.array([station.price for station in case.stations])
    assert set(prices.tolist()) == {1.0, 3.0}
    for [felt], [plain] in zip(felt_of(priced, 1, 4), felt_of(SHORT, 1, 4), strict=True):
        assert felt.price.tolist() == prices.tolist()
        assert plain.price.tolist() == [1.0] * len(prices)
        busy = felt.workers * felt.utilisation  # the same requests, whatever they cost
        assert cost(felt, EVERYTHING) - cost(plain, EVERYTHING) == pytest.approx(
            -np.log((prices * busy).sum() / busy.sum())
        )


def test_classes_of_requests_are_told_apart_and_are_all_of_them() -> None:
    classes = replace(SHORT, families={"mixed_classes": 1.0})
    dear = Objective(value=1.0, slo_latency_s=0.2, class_values={"report": 10.0})
    alike = replace(dear, class_values={})
    for [felt] in felt_of(classes, 1, 4):
        assert set(felt.by_class) == {"read", "write", "report"}
        assert sum(one.requests for one in felt.by_class.values()) == felt.outcome.requests
        assert value(felt, alike) == value(replace(felt, by_class={}), alike)
        assert value(felt, dear) < value(felt, alike), "reports take longest"


@pytest.mark.parametrize("slow", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("failed", [1, 5, 10])
def test_failing_what_takes_long_is_never_rewarded(slow: float, failed: int) -> None:
    base, objective = [0.1 * slow] * 10, Objective()
    fails = Felt(outcome(*base[failed:], failed=failed))
    assert advantage(fails, Felt(outcome(*base)), 0.1, objective) < 0.0
    assert advantage(Felt(outcome(*base)), fails, 0.1, objective) > 0.0


def test_time_that_is_saved_is_rewarded_in_proportion_up_to_a_bound() -> None:
    objective, base = Objective(latency_mean=1.0, errors=0.0), Felt(outcome(*[0.2] * 4))
    for ours_s, saved in ((0.1, 1.0), (0.2, 0.0), (0.4, -2.0), (2.0, -3.0)):
        found = advantage(Felt(outcome(*[ours_s] * 4)), base, 0.1, objective)
        assert found == pytest.approx(0.5 * np.log(0.2 / ours_s) + saved)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_recipes_are_rewarded_with_is_what_it_was_with_one_price_and_one_class(
    path: Path,
) -> None:
    recipe = load(path)
    case, seed = recipe.scenarios.case(np.random.default_rng(7))
    assert {station.price for station in case.stations} == {1.0}
    # The same draws, one by one, as before there were prices.
    random, draw = np.random.default_rng(7), recipe.scenarios
    odds = np.array(list(draw.families.values()))
    random.choice(len(odds), p=odds / odds.sum())
    assert seed == random.integers(*draw.seeds)
    random.choice(draw.endpoints), random.choice(draw.proxies)
    random.uniform(*draw.load), random.random()
    random.choice(draw.sampling), random.uniform(*draw.delay_s)
    after = np.random.default_rng(7)
    draw.case(after)
    assert after.bit_generator.state == random.bit_generator.state
    for [felt] in felt_of(draw, 7, 2):
        before = Felt(felt.outcome, felt.utilisation, felt.workers, np.ones(len(felt.workers)))
        assert worth(felt, recipe.objective) == worth(before, recipe.objective)
