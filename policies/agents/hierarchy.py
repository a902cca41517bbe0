"""Levels of decisions: when to think, which strategy, how much traffic to which group.

The low level moves groups, each second; it is PPO's actor. The high level chooses a strategy
(`policies.env.strategy`), which costs something to change: hosts that move to another group lose
what balancers know of them. The meta-controller says whether the strategy is to be thought of at
all, or kept. Both upper levels are one table of values, `keep` and each strategy, learned by DQN:
the meta-controller takes the worth of keeping against that of the best other, less its cost. This
is a policy over options that may be broken off at every step (R. S. Sutton, D. Precup, S. Singh,
"Between MDPs and semi-MDPs", Artificial Intelligence 112, 1999) with a cost of deliberation (J.
Harb et al., "When waiting is not an option", AAAI 2018).

Below these is Envoy, which chooses an endpoint for each request. No agent of ours does: it would
have to answer in microseconds, in every Envoy, what only that Envoy knows.
"""

# ruff: noqa: ANN401 - the signatures are those of Stable-Baselines3
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN
from torch import Tensor, nn

from policies.agents.moves import GroupDqnPolicy
from policies.agents.network import PRESENT, Actor, Body, pooled
from policies.agents.off_policy import replay
from policies.agents.on_policy import ppo
from policies.agents.registry import Between, Losses, Told, nothing
from policies.agents.repeat import repeatable
from policies.agents.sb3 import Sb3Learner, on_cpu
from policies.agents.settings import Hierarchy, Ppo
from policies.agents.vector import EpisodesVecEnv
from policies.env.episodes import Table, World
from policies.env.service import seen
from policies.env.strategy import STRATEGIES, Strategic, Strategy

LONG_S = 10.0
"""A strategy that is this old is old; the age is told in this unit, up to 1."""
UPPER = "upper"
"""The name of the upper levels among what is learned beside the actor."""


class InForce:
    """Which strategy each slot has, since when, and what of it the upper levels are told."""

    def __init__(self, slots: int, strategies: int) -> None:
        """All have the first."""
        self.count = strategies
        self.chosen = np.zeros(slots, np.int64)
        """(slots,)"""
        self._age = np.zeros(slots)

    def change(self, actions: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Take (slots,) strategies, or `count` to keep; returns whose is another than before."""
        wanted = np.where(actions == self.count, self.chosen, actions)
        changed: NDArray[np.bool_] = wanted != self.chosen
        self._age = np.where(changed, 0.0, self._age + 1.0)
        self.chosen = wanted.astype(np.int64)
        return changed

    def told(self, table: Table, context: Table) -> dict[str, Table]:
        """The table; which strategy is in force, since when, and the context of the choice."""
        now = np.zeros((len(table), self.count + 1), np.float32)
        now[np.arange(len(table)), self.chosen] = 1.0
        now[:, -1] = np.minimum(self._age / LONG_S, 1.0)
        return {"table": table, "now": np.concatenate([now, context], axis=1)}


class StrategyVecEnv(EpisodesVecEnv):
    """Actions: a strategy, or (the last) to keep the one in force. The low level acts below."""

    def __init__(self, episodes: Strategic, low: nn.Module | None, cost: float) -> None:
        self._strategic, self._low, self._cost = episodes, low, cost
        self._in_force = InForce(episodes.slots, len(episodes.strategies))
        self._switched = np.zeros(episodes.slots)
        self._seen: Table | None = None
        super().__init__(episodes, actions=spaces.Discrete(self.count + 1))
        told = self.count + 1 + episodes.context.shape[1]
        self.observation_space = spaces.Dict(
            {"table": seen(), "now": spaces.Box(0.0, 1.0, (told,), np.float32)}
        )

    @property
    def count(self) -> int:
        """Strategies that there are."""
        return self._in_force.count

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """Those that there are."""
        return tuple(self._strategic.strategies)

    @property
    def chosen(self) -> NDArray[np.int64]:
        """(slots,) the strategies in force."""
        return self._in_force.chosen

    def observed(self, table: Table) -> dict[str, Table]:
        """The table, and what is told of the strategies."""
        self._seen = table
        return self._in_force.told(table, self._strategic.context)

    def reset(self) -> Any:
        """New episodes, with the first strategy."""
        self._in_force = InForce(self.num_envs, self.count)
        return super().reset()

    def step_async(self, actions: Any) -> None:
        """Arrange what was chosen, and let the low level decide."""
        self._switched = self._in_force.change(actions).astype(np.float64)
        self._strategic.arrange(self.chosen)
        assert self._seen is not None
        super().step_async(moves_of(self._low, self._seen))

    def rewarded(self, rewards: Table) -> Table:
        """Less the cost of changing."""
        return np.asarray(rewards - self._cost * self._switched, np.float32)


def moves_of(low: nn.Module | None, table: Table) -> Table:
    """(slots, GROUPS) what the low level does; nothing where there is none."""
    if low is None:
        return np.zeros(table.shape[:2], np.float32)
    with torch.no_grad():
        return np.asarray(low(torch.from_numpy(table)).numpy())


class StrategyWorth(nn.Module):  # type: ignore[misc]
    """What each strategy and keeping is worth: (b, strategies + 1)."""

    def __init__(self, width: int, layers: int, strategies: int, told: int) -> None:
        """`told`: numbers of a slot that are beside its table."""
        super().__init__()
        self.body = Body(width, layers)
        self.mixed = nn.Linear(2 * width + told, width)
        self.head = nn.Linear(width, strategies + 1)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Tables and what is in force."""
        table = obs["table"]
        parts = pooled(self.body(table), table[:, :, PRESENT : PRESENT + 1])
        return self.head(torch.tanh(self.mixed(torch.cat([*parts, obs["now"]], dim=1))))

    def set_training_mode(self, mode: bool) -> None:
        """As `train`."""
        self.train(mode)

    def _predict(self, obs: dict[str, Tensor], deterministic: bool = True) -> Tensor:
        return self(obs).argmax(dim=1)


class StrategyPolicy(GroupDqnPolicy):
    """For DQN over strategies."""

    def _worth(self) -> nn.Module:
        told = self.observation_space["now"].shape[0]
        return StrategyWorth(*self._sizes, self.action_space.n - 1, told)


@dataclass(frozen=True, slots=True)
class Upper:
    """The upper levels as they were learned, and the low one that they were learned above."""

    worth: nn.Module
    """From what `InForce.told` says to (slots, strategies + 1), of which the last is to keep."""
    low: nn.Module | None
    """As it was when its part of the steps was over, which is not what was best on validation
    cases. None: nothing moved groups but the base."""
    strategies: tuple[Strategy, ...]

    def choose(self, told: Mapping[str, Table]) -> NDArray[np.int64]:
        """(slots,) strategies by number, or how many there are: keep the one in force."""
        with torch.no_grad():
            seen = {name: torch.from_numpy(part) for name, part in told.items()}
            return np.asarray(self.worth(seen).argmax(dim=1).numpy(), np.int64)

    def tree(self) -> dict[str, Any]:
        """All of it, as `policies.training.checkpoint` takes it."""
        return {
            "strategies": [one.name for one in self.strategies],
            "worth": self.worth.state_dict(),
            "low": None if self.low is None else self.low.state_dict(),
        }

    @classmethod
    def of(cls, tree: Mapping[str, Any], width: int, layers: int) -> Upper:
        """The same again. KeyError or RuntimeError where it is none of this version or size."""
        known = {one.name: one for one in STRATEGIES}
        strategies = tuple(known[name] for name in tree["strategies"])
        told = tree["worth"]["mixed.weight"].shape[1] - 2 * width
        worth = StrategyWorth(width, layers, len(strategies), told)
        worth.load_state_dict(tree["worth"])
        low = None
        if tree["low"] is not None:
            low = Actor(width, layers, centred=True)
            low.load_state_dict(tree["low"])
        return cls(worth.eval(), None if low is None else low.eval(), strategies)


class HierarchyLearner:
    """First the low level, then above it, as it is, the two others."""

    def __init__(self, settings: Hierarchy, world: World, seed: int) -> None:
        repeatable(seed)
        self.settings, self._world, self._seed = settings, world, seed
        self._low: Sb3Learner | None = None
        self._none = Actor(settings.width, settings.layers, centred=True)
        nn.init.zeros_(self._none.head.weight)
        if settings.low_part > 0.0:
            self._low = ppo(_low(settings, world), world, seed)
        self._high: Sb3Learner | None = None
        self._below = 0
        """Steps that the low level takes."""
        self._losses: Losses | None = None

    @property
    def high(self) -> Any:
        """The model of Stable-Baselines3 over strategies, once it is made."""
        return None if self._high is None else self._high.model

    def log_to(self, losses: Losses) -> None:
        """Losses of the low level; those of the levels above it by the names `above/...`."""
        self._losses = losses
        if self._low is not None:
            self._low.log_to(losses)

    def learn(self, steps: int, told: Told, between: Between = nothing) -> None:
        """`low_part` of the steps below, the others above."""
        self._below = below = int(self.settings.low_part * steps)
        if self._low is not None:
            self._low.learn(below, told, between)
        if self._high is None:
            self._high = self._above()

        def told_above(done: int, _: Any, reward: float) -> None:
            told(below + done, None, reward)

        self._high.learn(steps - below, told_above, between)

    def state(self) -> dict[str, Any]:
        """Of each level that there is by now."""
        levels = {"low": self._low, "high": self._high}
        return {name: one.state() for name, one in levels.items() if one is not None}

    def restore(self, state: Mapping[str, Any]) -> None:
        """As they were; the low level is what the other is made above."""
        if self._low is not None:
            self._low.restore(state["low"])
        if "high" in state:
            self._high = self._above()
            self._high.restore(state["high"])

    def beside(self) -> dict[str, Any]:
        """The levels above, once there are any: a release holds the low one."""
        if self._high is None:
            return {}
        strategies = self._high.model.env.strategies
        upper = Upper(self._high.model.q_net, self._low and self._low.actor(), strategies)
        return {UPPER: upper.tree()}

    def blank(self) -> nn.Module:
        """As the low level is now."""
        return self.actor()

    def _above(self) -> Sb3Learner:
        """Levels above the low one as it is, that know nothing yet."""
        settings = self.settings
        episodes: Any = self._world.episodes(settings.slots, self._seed + 1)
        low = None if self._low is None else on_cpu(self._low.actor())
        model = DQN(
            StrategyPolicy,
            StrategyVecEnv(episodes, low, settings.switch_cost),
            seed=self._seed,
            target_update_interval=settings.slots,
            exploration_fraction=settings.exploring,
            exploration_final_eps=settings.explored,
            policy_kwargs={"width": settings.width, "layers": settings.layers},
            **replay(settings),
        )
        episodes.seed(self._seed + 1)
        learner = Sb3Learner(model, lambda _: None)
        learner.log_to(self._told_above)
        return learner

    def _told_above(self, step: int, losses: Mapping[str, float]) -> None:
        if self._losses is not None:
            named = {f"above/{name}": value for name, value in losses.items()}
            self._losses(self._below + step, named)

    def actor(self) -> nn.Module:
        """The low level, which is what serving takes."""
        return self._none if self._low is None else self._low.actor()


def _low(settings: Hierarchy, world: World) -> Ppo:
    return Ppo(
        slots=settings.slots,
        copies=settings.copies,
        discount=settings.discount,
        width=settings.width,
        layers=settings.layers,
        batch=settings.slots * world.steps,
        centred=True,
        device=settings.device,
    )


def hierarchy(settings: Hierarchy, world: World, seed: int) -> HierarchyLearner:
    """Levels that know nothing yet."""
    return HierarchyLearner(settings, world, seed)
