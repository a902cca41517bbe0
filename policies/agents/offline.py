"""Learning from a log of decisions alone, and doubting what came of it.

The log is of the base with a little noise, which a fleet can afford. A critic learns what decisions
were worth, an actor what it would rather do, near to what was tried: one step of improvement, which
is where most of what offline learning can win is, and none of its runaway errors (D. Brandfonbrener
et al., "Offline RL without off-policy evaluation", NeurIPS 2021). The half of the log that was not
learned from says by a doubly robust estimate whether it is better; if it does not, the base stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from policies.agents.meta_policy import returns_to_go
from policies.agents.network import PRESENT, ActionCritic, Actor
from policies.agents.off_policy_evaluation import Estimate, doubly_robust
from policies.agents.registry import Told
from policies.agents.sb3 import repeatable
from policies.agents.settings import Offline
from policies.env.episodes import Episodes, World

DRAWS = 16
"""Actions of the policy that the critic is asked about, for what it expects of the policy."""


@dataclass(frozen=True, slots=True)
class Log:
    """Decisions: what was seen, what was done, and what was still to come."""

    table: Tensor
    """(n, g, features)"""
    actions: Tensor
    """(n, g)"""
    returns: Tensor
    """(n,)"""
    episode: Tensor
    """(n,) the number of the episode that each was in."""

    def part(self, which: Tensor) -> Log:
        """Those where (n,) is true."""
        return Log(self.table[which], self.actions[which], self.returns[which], self.episode[which])

    def halves(self) -> tuple[Log, Log]:
        """The first half of the episodes, and the others: none is in both."""
        first = self.episode < (int(self.episode.max()) + 1) // 2
        return self.part(first), self.part(~first)


def logged(episodes: Episodes, steps: int, settings: Offline, seed: int) -> tuple[Log, float]:
    """At least so many decisions of the base with noise, and their mean return over episodes."""
    chance = torch.Generator().manual_seed(seed)
    logs: list[Log] = []
    means, done = [], 0
    while done < steps:
        tables, actions, rewards = [], [], []
        table, ended = episodes.reset(), False
        while not ended:
            seen = torch.from_numpy(table)
            noise = torch.randn(seen.shape[:2], generator=chance)
            moves = settings.deviation * noise * seen[:, :, PRESENT]
            table, reward, ended = episodes.step(moves.numpy())
            tables.append(seen)
            actions.append(moves)
            rewards.append(reward)
        means.append(float(np.sum(rewards, axis=0).mean()))
        done += len(tables) * episodes.slots
        to_go = returns_to_go(np.array(rewards), settings.discount).reshape(-1)
        returns = torch.from_numpy(to_go.astype(np.float32))
        number = torch.arange(len(logs) * episodes.slots, (len(logs) + 1) * episodes.slots)
        episode = number.repeat(len(tables))
        logs.append(Log(torch.cat(tables), torch.cat(actions), returns, episode))
    whole = Log(
        torch.cat([log.table for log in logs]),
        torch.cat([log.actions for log in logs]),
        torch.cat([log.returns for log in logs]),
        torch.cat([log.episode for log in logs]),
    )
    return whole, float(np.mean(means))


class OfflineLearner:
    """Collects a log, learns from half of it, and asks the other half."""

    def __init__(self, settings: Offline, world: World, seed: int) -> None:
        repeatable(seed)
        self._settings, self._seed = settings, seed
        self._episodes = world.episodes(settings.slots, seed, settings.copies)
        self._base = Actor(settings.width, settings.layers, centred=True)
        nn.init.zeros_(self._base.head.weight)
        self._actor: nn.Module = self._base
        self.estimate: Estimate | None = None
        """What the actor is worth beyond the logged decisions, by what it did not learn from."""

    def log_to(self, folder: Path) -> None:
        """It has no losses."""

    def learn(self, steps: int, told: Told) -> None:
        """`steps` are decisions that are logged."""
        log, mean = logged(self._episodes, steps, self._settings, self._seed)
        told(len(log.returns), None, mean)
        self.learn_from(*log.halves())

    def learn_from(self, log: Log, other: Log) -> None:
        """From one log, judged by another."""
        centre, scale = log.returns.mean(), log.returns.std().clamp(min=1e-6)
        log, other = (replace(one, returns=(one.returns - centre) / scale) for one in (log, other))
        critic = self._critic(log)
        actor = self._improved(critic, log)
        self.estimate = self._judged(actor, critic, other)
        self._actor = actor if self.estimate.least > 0.0 else self._base

    def actor(self) -> nn.Module:
        """What it learned, or the base where that is not shown to be better."""
        return self._actor

    def _critic(self, log: Log) -> nn.Module:
        critic = ActionCritic(self._settings.width, self._settings.layers)

        def loss(some: Tensor) -> Tensor:
            said = critic(log.table[some], log.actions[some]).squeeze(1)
            return nn.functional.mse_loss(said, log.returns[some])

        self._descend(critic, loss, len(log.returns))
        critic.eval()
        return critic

    def _improved(self, critic: nn.Module, log: Log) -> nn.Module:
        """What the critic likes best, at a cost for each standard deviation from the log."""
        actor = Actor(self._settings.width, self._settings.layers, centred=True)
        caution = self._settings.caution / self._settings.deviation**2

        def loss(some: Tensor) -> Tensor:
            table = log.table[some]
            moves, here = actor(table), table[:, :, PRESENT]
            far = (moves.square() * here).sum(1) / here.sum(1)
            return (caution * far - critic(table, moves).squeeze(1)).mean()

        self._descend(actor, loss, len(log.returns))
        actor.eval()
        return actor

    def _descend(self, module: nn.Module, loss: Callable[[Tensor], Tensor], of: int) -> None:
        settings = self._settings
        order = torch.Generator().manual_seed(self._seed)
        optimiser = torch.optim.Adam(module.parameters(), lr=settings.learning_rate)
        for _ in range(settings.updates):
            optimiser.zero_grad()
            loss(torch.randint(of, (settings.batch,), generator=order)).backward()
            optimiser.step()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _judged(self, actor: nn.Module, critic: nn.Module, log: Log) -> Estimate:
        """The actor with the noise of the log, beside what the log got."""
        here = log.table[:, :, PRESENT]
        ours = Normal(actor(log.table), self._settings.deviation)
        theirs = Normal(torch.zeros_like(here), self._settings.deviation)
        ratio = (ours.log_prob(log.actions) - theirs.log_prob(log.actions)) * here
        chance = torch.Generator().manual_seed(self._seed)
        expected = torch.zeros(len(log.returns))
        for _ in range(DRAWS):
            noise = torch.randn(here.shape, generator=chance) * self._settings.deviation
            expected += critic(log.table, (ours.mean + noise) * here).squeeze(1) / DRAWS
        return doubly_robust(
            ratio.sum(1).exp().double().numpy(),
            log.returns.double().numpy(),
            expected.double().numpy(),
            critic(log.table, log.actions).squeeze(1).double().numpy(),
            log.episode.numpy(),
        )


def offline(settings: Offline, world: World, seed: int) -> OfflineLearner:
    """Learns from a log that the base makes."""
    return OfflineLearner(settings, world, seed)
