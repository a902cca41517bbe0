"""Learning from a log of decisions alone, and doubting what came of it.

The log is of a policy with a little noise, which a fleet can afford: the simulator writes one of
the base, `weir serve` one of what it does. A critic learns what decisions were worth, an actor what
it would rather do, near to what was tried: one step of improvement, which is where most of what
offline learning can win is, and none of its runaway errors (D. Brandfonbrener et al., "Offline RL
without off-policy evaluation", NeurIPS 2021). The half of the log that was not learned from says by
a doubly robust estimate whether it is better than what was logged; if it does not, the base stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Normal

from controlplane.model.observation import Floats
from policies.agents.meta_policy import returns_to_go
from policies.agents.network import PRESENT, ActionCritic, Actor
from policies.agents.off_policy_evaluation import (
    Estimate,
    beyond_the_log,
    doubly_robust,
    own,
)
from policies.agents.registry import Between, Losses, Told, nothing
from policies.agents.repeat import repeatable
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
    """(n,) the number of the episode that each was in, in the order of time."""
    means: Tensor
    """(n, g) what the policy that was logged does without noise."""
    deviation: Tensor
    """(n,) of its noise."""
    log_density: Tensor
    """(n,) how likely that made the action: the logarithm of its density."""

    def part(self, which: Tensor) -> Log:
        """Those where (n,) is true."""
        return Log(*(getattr(self, one.name)[which] for one in fields(Log)))

    def halves(self) -> tuple[Log, Log]:
        """The first half of the episodes, and the others: none is in both."""
        first = self.episode < (int(self.episode.max()) + 1) // 2
        return self.part(first), self.part(~first)


class Logging:
    """The base with noise, played and written down, an episode of all slots at a time."""

    def __init__(self, episodes: Episodes, settings: Offline, seed: int) -> None:
        self._episodes, self._settings = episodes, settings
        self._chance = torch.Generator().manual_seed(seed)
        self._logs: list[Log] = []
        self._means: list[float] = []
        self.steps = 0
        """Decisions so far."""

    def play(self) -> None:
        """One more."""
        episodes, settings = self._episodes, self._settings
        tables, actions, rewards = [], [], []
        table, ended = episodes.reset(), False
        while not ended:
            seen = torch.from_numpy(table)
            noise = torch.randn(seen.shape[:2], generator=self._chance)
            moves = settings.deviation * noise * seen[:, :, PRESENT]
            table, reward, ended = episodes.step(moves.numpy())
            tables.append(seen)
            actions.append(moves)
            rewards.append(reward)
        to_go = returns_to_go(np.array(rewards), settings.discount).reshape(-1)
        returns = torch.from_numpy(to_go.astype(np.float32))
        first = len(self._means) * episodes.slots
        episode = torch.arange(first, first + episodes.slots).repeat(len(tables))
        self._logs.append(
            noisy_base(torch.cat(tables), torch.cat(actions), returns, episode, settings.deviation)
        )
        self._means.append(float(np.sum(rewards, axis=0).mean()))
        self.steps += len(tables) * episodes.slots

    def log(self) -> Log:
        """All of it."""
        parts = [[getattr(log, one.name) for log in self._logs] for one in fields(Log)]
        return Log(*(torch.cat(part) for part in parts))

    def mean(self) -> float:
        """Return over episodes."""
        return float(np.mean(self._means))

    def state(self) -> dict[str, Any]:
        """What was written down, and where chance stands."""
        return {
            "log": asdict(self.log()) if self._logs else None,
            "means": self._means,
            "steps": self.steps,
            "chance": self._chance.get_state(),
            "episodes": self._episodes.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """As it was."""
        self._logs = [] if state["log"] is None else [Log(**state["log"])]
        self._means, self.steps = state["means"], state["steps"]
        self._chance.set_state(state["chance"])
        self._episodes.restore(state["episodes"])


def noisy_base(
    table: Tensor, actions: Tensor, returns: Tensor, episode: Tensor, deviation: float
) -> Log:
    """A log of the base with this noise."""
    means, deviations = torch.zeros_like(actions), torch.full_like(returns, deviation)
    density = log_density(actions, means, deviations, table[:, :, PRESENT])
    return Log(table, actions, returns, episode, means, deviations, density)


def log_density(actions: Tensor, means: Tensor, deviation: Tensor, here: Tensor) -> Tensor:
    """(n,) of (n, g) actions around means, over the groups that are there."""
    each = Normal(means, deviation.unsqueeze(1)).log_prob(actions)
    return (each * here).sum(1)


def logged(episodes: Episodes, steps: int, settings: Offline, seed: int) -> tuple[Log, float]:
    """At least so many decisions of the base with noise, and their mean return over episodes."""
    logging = Logging(episodes, settings, seed)
    while logging.steps < steps:
        logging.play()
    return logging.log(), logging.mean()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a log says of an actor, in standard deviations of its returns."""

    logged: Estimate
    """Of the policy that wrote it."""
    release: Estimate
    """Of the actor, with the noise of the log."""
    beyond: Estimate
    """Their difference, with the error of the difference."""
    decisions: int
    """That were asked."""


class OfflineLearner:
    """Collects a log, learns from half of it, and asks the other half."""

    def __init__(self, settings: Offline, world: World, seed: int) -> None:
        repeatable(seed)
        self._settings, self._seed = settings, seed
        episodes = world.episodes(settings.slots, seed, settings.copies)
        self._logging = Logging(episodes, settings, seed)
        self._base = Actor(settings.width, settings.layers, centred=True)
        nn.init.zeros_(self._base.head.weight)
        self._actor: nn.Module = self._base
        self.estimate: Estimate | None = None
        """What the actor is worth beyond the logged decisions, by what it did not learn from."""
        self._losses: Losses | None = None
        self._taken: Log | None = None

    def take(self, log: Log) -> None:
        """Learn from this log, instead of from one that is played."""
        self._taken = log

    def log_to(self, losses: Losses) -> None:
        """What the other half of the log says, and how much of it speaks for the actor."""
        self._losses = losses

    def learn(self, steps: int, told: Told, between: Between = nothing) -> None:
        """`steps` are decisions that are logged."""
        while self._taken is None and self._logging.steps < steps:
            between()
            self._logging.play()
        between()
        log, mean = self._taken, 0.0
        if log is None:
            log, mean = self._logging.log(), self._logging.mean()
        told(len(log.returns), None, mean)
        half, other = log.halves()
        self.learn_from(half, other)
        if self._losses is not None and self.estimate is not None:
            self._losses(len(log.returns), _said(self.estimate, len(other.returns)))

    def state(self) -> dict[str, Any]:
        """The log so far: what is learned from it is learned in one go."""
        return self._logging.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """As it was."""
        self._logging.restore(state)

    def blank(self) -> nn.Module:
        """As the base."""
        return self._base

    def learn_from(self, log: Log, other: Log) -> None:
        """From one log, judged by another."""
        log, other = _beside(log, other)
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
        caution = self._settings.caution / log.deviation.square()

        def loss(some: Tensor) -> Tensor:
            table = log.table[some]
            moves, here = actor(table), table[:, :, PRESENT]
            far = ((moves - log.means[some]).square() * here).sum(1) / here.sum(1)
            return (caution[some] * far - critic(table, moves).squeeze(1)).mean()

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

    def asked(self, actor: nn.Module, log: Log, other: Log) -> Asked:
        """What another actor would have been worth: `other`, asked with a critic of `log`."""
        log, other = _beside(log, other)
        terms = self._terms(actor, self._critic(log), other)
        _, returns, _, _, episode = terms
        return Asked(
            own(returns, episode),
            doubly_robust(*terms),
            beyond_the_log(*terms),
            len(returns),
        )

    def _judged(self, actor: nn.Module, critic: nn.Module, log: Log) -> Estimate:
        """The actor with the noise of the log, beside what the log got."""
        return beyond_the_log(*self._terms(actor, critic, log))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _terms(
        self, actor: nn.Module, critic: nn.Module, log: Log
    ) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.intp]]:
        """What the doubly robust estimate is made of, in its order."""
        here = log.table[:, :, PRESENT]
        means = actor(log.table)
        ratio = log_density(log.actions, means, log.deviation, here) - log.log_density
        chance = torch.Generator().manual_seed(self._seed)
        expected = torch.zeros(len(log.returns))
        for _ in range(DRAWS):
            noise = torch.randn(here.shape, generator=chance) * log.deviation.unsqueeze(1)
            expected += critic(log.table, (means + noise) * here).squeeze(1) / DRAWS
        return (
            ratio.exp().double().numpy(),
            log.returns.double().numpy(),
            expected.double().numpy(),
            critic(log.table, log.actions).squeeze(1).double().numpy(),
            log.episode.numpy(),
        )


def _beside(log: Log, other: Log) -> tuple[Log, Log]:
    """Returns in standard deviations of those of the first, about their mean."""
    centre, scale = log.returns.mean(), log.returns.std().clamp(min=1e-6)
    log, other = (replace(one, returns=(one.returns - centre) / scale) for one in (log, other))
    return log, other


def _said(estimate: Estimate, decisions: int) -> Mapping[str, float]:
    """In standard deviations of the logged returns, beyond their mean; both sizes in decisions."""
    return {
        "off_policy_value": estimate.value,
        "off_policy_least": estimate.least,
        "effective_sample_size": estimate.effective,
        "sample_size": float(decisions),
    }


def offline(settings: Offline, world: World, seed: int) -> OfflineLearner:
    """Learns from a log that the base makes."""
    return OfflineLearner(settings, world, seed)
