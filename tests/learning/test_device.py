"""Networks run where they are put. There is no GPU here; torch's `meta` device knows no values, but
refuses, as a GPU does, what mixes it with the CPU."""

# ruff: noqa: ANN401 - Stable-Baselines3 has no types
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from policies.agents.registry import algorithm
from policies.agents.sb3 import on_cpu
from policies.agents.settings import OffPolicy, Ppo, Torch
from policies.training.toy import LESSONS
from tests.learning.short_runs import short

pytestmark = pytest.mark.learning

NAMES = [name for name, lesson in LESSONS.items() if isinstance(lesson.settings, Torch)]
FLAT = [name for name in NAMES if name not in ("hierarchy", "recurrent-ppo")]


def on_meta(seen: Any) -> Any:
    if isinstance(seen, dict):
        return {key: on_meta(value) for key, value in seen.items()}
    return torch.from_numpy(seen).to("meta")


def asked(policy: Any, seen: Any) -> list[torch.Tensor]:
    """All that learning asks of a policy."""
    if hasattr(policy, "q_net"):
        return [policy.q_net(seen), policy.q_net_target(seen)]
    if hasattr(policy, "evaluate_actions"):
        actions, values, log_prob = policy.forward(seen)
        return [actions, values, log_prob, *policy.evaluate_actions(seen, actions)]
    actions = policy.actor(seen)
    judged = policy.critic(seen, actions)
    probable = policy.actor.action_log_prob(seen) if hasattr(policy.actor, "spread") else ()
    return [actions, *judged, *probable]


@pytest.fixture(autouse=True)
def _nobody_asks_for_values() -> Iterator[None]:
    """Distributions check their parameters, which are none here."""
    torch.distributions.Distribution.set_default_validate_args(False)
    yield
    torch.distributions.Distribution.set_default_validate_args(__debug__)


@pytest.mark.parametrize("name", FLAT)
def test_nothing_that_is_learned_stays_behind_on_the_cpu(name: str) -> None:
    recipe = short(name)
    learner: Any = algorithm(name).learner(recipe.settings, recipe.world, 1)
    seen = on_meta(learner.model.env.reset())
    said = asked(learner.model.policy.to("meta"), seen)
    assert {one.device.type for one in said} == {"meta"}


class There(torch.nn.Module):  # type: ignore[misc]
    """On another device, from which it can be brought, as from a GPU: `meta` with its values."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.values = values
        self.weight = torch.nn.Parameter(values.to("meta"))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> There:
        self.weight = torch.nn.Parameter(fn(self.values))
        return self


def test_what_is_on_the_cpu_is_taken_as_it_is_and_else_brought_there() -> None:
    module = torch.nn.Linear(2, 1)
    assert on_cpu(module) is module
    mixed: Any = torch.nn.Sequential(module, There(torch.ones(2)))
    brought = on_cpu(mixed)
    assert brought is not mixed
    assert {one.device.type for one in brought.parameters()} == {"cpu"}
    assert mixed[1].weight.device.type == "meta", "what learns stays where it is"
    assert torch.equal(brought[1].weight, torch.ones(2))


@pytest.mark.parametrize("name", NAMES)
def test_the_device_is_the_recipes(name: str) -> None:
    settings = LESSONS[name].settings
    assert isinstance(settings, Torch)
    assert settings.device == "auto"
    for wrong in ("gpu", "cuda:", "cuda:x"):
        kind = replace(settings, device=wrong)
        with pytest.raises(ValueError, match="device: wanted auto, cpu, cuda"):
            kind.check(10)
    assert isinstance(settings, Ppo | OffPolicy) or name == "a2c"
