"""Every algorithm finds an optimum that is known, and finds it again with the same seed."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from benchmarks import agents
from policies.agents.moves import MOVES, Greedy, Worth, after
from policies.agents.network import PRESENT, Released
from policies.agents.off_policy import Squashed
from policies.agents.registry import ALGORITHMS, Learner, algorithm
from policies.agents.settings import Offline, OffPolicy, Settings
from policies.agents.team import TeamLearner
from policies.env.routing import Routing, RoutingEpisodes
from policies.training.export import export, largest_difference
from policies.training.recipe import FOLDER, load
from policies.training.scoring import score, score_of
from policies.training.toy import LESSONS
from policies.training.train import Trained, train

pytestmark = pytest.mark.learning

DOCS = Path(__file__).parents[2] / "docs" / "agents"

ELSEWHERE = {
    "recurrent-ppo",
    "shared-ppo",
    "central-ppo",
    "independent-ppo",
    "offline",
    "hierarchy",
}
BELOW = sorted(set(LESSONS) - ELSEWHERE)
"""Those of which the best policy of a run is kept, as `weir train` does."""


@pytest.mark.parametrize("name", BELOW)
def test_it_finds_the_optimum(name: str) -> None:
    lesson = LESSONS[name]
    assert score(lesson.world, train(lesson.recipe(name)).actor) >= lesson.least


def short(name: str, seed: int) -> Trained:
    """A run that is long enough to have learned something, if little."""
    lesson = LESSONS[name]
    if isinstance(lesson.settings, Offline):
        lesson = replace(lesson, settings=replace(lesson.settings, updates=20))
    if isinstance(lesson.settings, OffPolicy):
        lesson = replace(lesson, settings=replace(lesson.settings, warmup=320))
    return train(lesson.recipe(name, seed, steps=max(480, lesson.settings.slots * 10)))


@pytest.mark.parametrize("name", LESSONS)
def test_one_seed_gives_one_policy(name: str) -> None:
    first, second = short(name, 1), short(name, 1)
    assert first.curve == second.curve
    assert first.updates == second.updates
    for a, b in zip(first.actor.parameters(), second.actor.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["ppo", "q-learning", "maml"])
def test_another_seed_gives_another_policy(name: str) -> None:
    assert short(name, 1).curve != short(name, 2).curve


def test_a_policy_of_moves_is_exported_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    greedy = Greedy(Worth(16, 1), 0.25).eval()
    export(greedy, tmp_path / "model.onnx")  # which compares the two, or raises
    assert (
        largest_difference(Released(greedy, 0.7).eval(), (tmp_path / "model.onnx").read_bytes())
        < 1e-5
    )


def learned(name: str) -> Learner:
    lesson = LESSONS[name]
    learner = algorithm(name).learner(lesson.settings, lesson.world, 1)
    learner.learn(lesson.steps, lambda *_: None)
    return learner


def test_a_memory_knows_what_was_shown_once_and_its_pupil_does_not() -> None:
    """Speeds are shown at the first of ten steps: without a memory a tenth can be won."""
    lesson, learner = LESSONS["recurrent-ppo"], learned("recurrent-ppo")
    assert score_of(learner, lesson.world) >= lesson.least
    assert score(lesson.world, learner.actor()) < 0.15


@pytest.mark.parametrize("name", ["shared-ppo", "central-ppo"])
def test_agents_that_share_a_reward_find_the_least_total_time(name: str) -> None:
    assert score_of(learned(name), LESSONS[name].world) >= LESSONS[name].least


def test_agents_that_compete_find_the_equilibrium() -> None:
    lesson = LESSONS["independent-ppo"]
    assert score_of(learned("independent-ppo"), lesson.world) >= lesson.least


def test_no_gradient_of_one_agent_reaches_anothers_networks() -> None:
    lesson = LESSONS["independent-ppo"]
    learner = algorithm("independent-ppo").learner(lesson.settings, lesson.world, 1)
    assert isinstance(learner, TeamLearner)
    policy, seen = learner.model.policy, learner.model.env.reset()
    seen = {key: torch.from_numpy(rows[1::3]) for key, rows in seen.items()}  # the second's
    (policy.means(seen).square().sum() + policy.values(seen).sum()).backward()
    for part in (policy.actor, policy.critic):
        moved = [any(p.grad.abs().sum() > 0 for p in n.parameters()) for n in part.networks]
        assert moved == [False, True, False]


# --- the pieces --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_a_recipe_a_page_and_settings_that_fit(name: str) -> None:
    one = ALGORITHMS[name]
    assert one.title
    assert name in LESSONS
    assert issubclass(one.settings, Settings)
    one.settings().check(39)
    assert name in {load(path).algorithm for path in FOLDER.glob("*.yaml")}
    page = (DOCS / f"{name}.md").read_text()
    for part in ("## Equations and source", "## Hyperparameters", "## On the toy", "## In the lea"):
        assert part in page


def named(page: str, heading: str) -> set[str]:
    """The hyperparameters in the first column of a page's table, and of those that it leads to."""
    rows = (DOCS / page).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    names: set[str] = set()
    for row in re.findall(r"^\| `.*", rows, re.MULTILINE):
        first = re.findall(r"`([^`]+)`", row.split("|")[1])
        names |= {name for some in first for name in some.split(", ")}
        if "others" in first and (as_in := re.search(r"as \[.*?\]\((\S+\.md)\)", row)):
            names |= named(as_in[1], "Hyperparameters")
    return names


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_hyperparameter_has_its_reason(name: str) -> None:
    told = named(f"{name}.md", "Hyperparameters") | named("README.md", "Hyperparameters of all")
    assert {one.name for one in fields(ALGORITHMS[name].settings)} <= told


def test_the_scores_in_the_docs_are_those_that_were_measured() -> None:
    result = json.loads(agents.RESULT.read_text())
    assert agents.table(result) in (DOCS / "README.md").read_text()
    for name, lesson in LESSONS.items():
        assert len(result[name]["runs"]) >= 3
        assert result[name]["runs"][0]["score"] >= lesson.least


def some_table(rows: int) -> torch.Tensor:
    return torch.from_numpy(RoutingEpisodes(Routing(), rows, 5).reset())


def test_the_greedy_actor_makes_the_move_that_is_worth_most() -> None:
    torch.manual_seed(0)
    worth, table = Worth(16, 2), some_table(64)
    moves = worth(table).argmax(dim=1)
    assert len(set(moves.tolist())) > 3
    wanted = after(table, moves, 0.25)
    assert torch.allclose(Greedy(worth, 0.25)(table), wanted)
    assert worth(table).shape == (64, MOVES)


def test_the_log_probability_of_squashed_actions_is_that_of_torch() -> None:
    torch.manual_seed(0)
    actor, table = Squashed(16, 2), some_table(32)
    torch.manual_seed(1)
    actions, log_prob = actor.action_log_prob(table)
    around = actor._around(table)
    theirs = torch.distributions.TransformedDistribution(
        around, torch.distributions.TanhTransform()
    )
    here = table[:, :, PRESENT]
    inside = actions.clamp(-0.999999, 0.999999)
    each = torch.where(here > 0, theirs.log_prob(inside), torch.zeros(()))
    assert torch.allclose(log_prob, each.sum(1) / here.sum(1) * 4, rtol=1e-3)
