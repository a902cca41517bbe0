"""MAML and Reptile of a policy: the loss is the policy gradient's, a task is a kind of service.

Episodes of a task are played, the policy is adapted to them by a few steps of gradient ascent, and
for MAML played again; `meta` does the rest. Returns are measured by the other copies of the same
case, so there is no critic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.func import functional_call

from policies.agents.meta import Parameters, adapted, maml_slope, reptile_slope, stepped
from policies.agents.network import PRESENT, Actor
from policies.agents.registry import Between, Losses, Told, nothing
from policies.agents.repeat import repeatable
from policies.agents.settings import Maml, Reptile
from policies.agents.vector import beyond_the_others
from policies.env.episodes import Episodes, World

Played = tuple[Tensor, Tensor, Tensor]
"""(steps, g, features), (steps, g) actions, (steps,) advantages."""


class MetaLearner:
    """A policy that is easy to adapt."""

    def __init__(self, settings: Maml, world: World, seed: int) -> None:
        repeatable(seed)
        self._settings = settings
        self._tasks = [
            task.episodes(settings.slots, seed + i, settings.copies)
            for i, task in enumerate(world.tasks())
        ]
        self._net = Actor(settings.width, settings.layers, centred=True)
        self._random = np.random.default_rng([seed, 9])
        self._chance = torch.Generator().manual_seed(seed)
        self.start: Parameters = {
            name: one.detach().clone() for name, one in self._net.named_parameters()
        }
        self._optimiser = torch.optim.Adam(self.start.values(), lr=settings.learning_rate)
        self._done = 0

    def begin(self, actor: nn.Module) -> None:
        """Learn on from another policy of this shape, instead of from chance."""
        for name, one in actor.named_parameters():
            self.start[name].copy_(one.detach())

    def log_to(self, losses: Losses) -> None:
        """It has no losses."""

    def learn(self, steps: int, told: Told, between: Between = nothing) -> None:
        """Whole steps of some tasks each."""
        while self._done < steps:
            between()
            before, count = self.actor(), min(self._settings.tasks, len(self._tasks))
            chosen = self._random.choice(len(self._tasks), count, replace=False)
            played, returns = self._step([self._tasks[i] for i in chosen])
            self._done += played
            told(self._done, before, returns)

    def state(self) -> dict[str, Any]:
        """The parameters, Adam's moments, and where chance stands."""
        return {
            "steps": self._done,
            "start": self.start,
            "optimiser": self._optimiser.state_dict(),
            "random": self._random.bit_generator.state,
            "chance": self._chance.get_state(),
            "episodes": [task.state() for task in self._tasks],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """As it was."""
        self._done = state["steps"]
        for name, value in state["start"].items():
            self.start[name].copy_(value)  # in place: the optimiser has it
        self._optimiser.load_state_dict(state["optimiser"])
        self._random.bit_generator.state = state["random"]
        self._chance.set_state(state["chance"])
        for task, drawn in zip(self._tasks, state["episodes"], strict=True):
            task.restore(drawn)

    def blank(self) -> nn.Module:
        """As it is now."""
        return self.actor()

    def actor(self) -> nn.Module:
        """The policy before it is adapted to anything."""
        return self.module(self.start)

    def module(self, parameters: Parameters) -> Actor:
        """The policy with these parameters."""
        actor = Actor(self._settings.width, self._settings.layers, centred=True)
        actor.load_state_dict({k: v.detach() for k, v in parameters.items()})
        actor.eval()
        return actor

    def adapted_to(self, episodes: Episodes, rounds: int) -> Parameters:
        """The parameters after so many rounds of episodes of a new kind of service."""
        now = self.start
        for _ in range(rounds):
            now = self._adapt(now, self.play(episodes, now)[0])
        return now

    def loss(self, parameters: Parameters, played: Played) -> Tensor:
        """Minus the surrogate whose gradient is that of the expected return."""
        table, actions, advantage = played
        means = functional_call(self._net, parameters, (table,))
        around = Normal(means, self._settings.deviation, validate_args=False)
        log_prob = (around.log_prob(actions) * table[..., PRESENT]).sum(-1)
        return -(log_prob * advantage).mean()

    def play(self, episodes: Episodes, parameters: Parameters) -> tuple[Played, float]:
        """An episode in all slots, exploring; and the mean return."""
        settings = self._settings
        return explored(
            episodes, self.module(parameters), self._chance,
            deviation=settings.deviation, discount=settings.discount, copies=settings.copies,
        )  # fmt: skip

    def _adapt(self, now: Parameters, played: Played) -> Parameters:
        settings = self._settings
        moved = adapted(
            self.loss, now, played, rate=settings.inner_rate, steps=settings.inner_steps, order=1
        )
        return {name: one.detach() for name, one in moved.items()}

    def _step(self, tasks: list[Episodes]) -> tuple[int, float]:
        settings = self._settings
        first = [self.play(task, self.start) for task in tasks]
        support = _stacked([played for played, _ in first])
        done = support[2].numel()
        if isinstance(settings, Reptile):
            back = reptile_slope(
                self.loss, self.start, support,
                rate=settings.inner_rate, steps=settings.inner_steps,
            )  # fmt: skip
            part = settings.learning_rate
            self.start = {name: one - part * back[name] for name, one in self.start.items()}
        else:
            second = [
                self.play(task, self._adapt(self.start, played))[0]
                for task, (played, _) in zip(tasks, first, strict=True)
            ]
            slope = maml_slope(
                self.loss, self.start, support, _stacked(second),
                rate=settings.inner_rate, steps=settings.inner_steps, order=settings.order,
            )  # fmt: skip
            stepped(self._optimiser, self.start, slope)
            done *= 2
        return done, float(np.mean([mean for _, mean in first]))


def explored(
    episodes: Episodes,
    actor: nn.Module,
    chance: torch.Generator,
    *,
    deviation: float,
    discount: float,
    copies: int,
) -> tuple[Played, float]:
    """An episode in all slots with noise of this deviation, and the mean return.

    Advantages are discounted returns beyond those of the other copies, of unit variance.
    """
    tables, actions, rewards = [], [], []
    table, ended = episodes.reset(), False
    while not ended:
        seen = torch.from_numpy(table)
        with torch.no_grad():
            means = actor(seen)
            noise = torch.randn(means.shape, generator=chance)
            done = (means + deviation * noise) * seen[:, :, PRESENT]
        table, reward, ended = episodes.step(done.numpy())
        tables.append(seen)
        actions.append(done)
        rewards.append(reward)
    mean = float(np.sum(rewards, axis=0).mean())
    to_go = returns_to_go(np.array(rewards), discount)
    advantage = np.stack([beyond_the_others(row, copies) for row in to_go])
    advantage /= advantage.std() + 1e-8
    flat = torch.from_numpy(advantage.astype(np.float32).reshape(-1))
    return (torch.cat(tables), torch.cat(actions), flat), mean


def returns_to_go(rewards: np.ndarray, discount: float) -> np.ndarray:
    """(steps, slots) discounted sums of what is still to come."""
    sums, later = np.zeros(rewards.shape), np.zeros(rewards.shape[1])
    for i in range(len(rewards) - 1, -1, -1):
        later = rewards[i] + discount * later
        sums[i] = later
    return sums


def _stacked(each: list[Played]) -> Played:
    tables, actions, advantages = (torch.stack(parts) for parts in zip(*each, strict=True))
    return tables, actions, advantages


def maml(settings: Maml, world: World, seed: int) -> MetaLearner:
    """MAML, of the order that its settings name."""
    return MetaLearner(settings, world, seed)


def reptile(settings: Reptile, world: World, seed: int) -> MetaLearner:
    """Reptile."""
    return MetaLearner(settings, world, seed)
