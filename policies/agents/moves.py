"""DQN of Stable-Baselines3 on discrete moves, with our network.

A move takes one group up or down by a fixed step from where it is now, or leaves all as they are.
Where a group is now is a feature (`current_over_base`), so what was learned needs no memory.
"""

# ruff: noqa: ANN401 - the signatures are those of Stable-Baselines3
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn

from controlplane.model.features import FEATURES
from policies.agents.network import PRESENT, Body, pooled
from policies.agents.off_policy import replay
from policies.agents.repeat import repeatable
from policies.agents.sb3 import Sb3Learner
from policies.agents.settings import Dqn
from policies.agents.vector import EpisodesVecEnv
from policies.env.episodes import BOUND, GROUPS, Episodes, Table, World

NOW = FEATURES.index("current_over_base")
MOVES = 2 * GROUPS + 1
"""Group 0 up, down, group 1 up, down, and so on; the last: stay."""


class ByMoves:
    """`Episodes` whose actions are moves: (slots,) numbers below MOVES."""

    def __init__(self, episodes: Episodes, move: float) -> None:
        self.slots = episodes.slots
        self._episodes, self._move = episodes, move
        self._table: Table = np.zeros((self.slots, GROUPS, len(FEATURES)), np.float32)

    def seed(self, seed: int) -> None:
        """Draw from here on as if new."""
        self._episodes.seed(seed)

    def state(self) -> Any:
        """As theirs."""
        return self._episodes.state()

    def restore(self, state: Any) -> None:
        """As theirs."""
        self._episodes.restore(state)

    def reset(self) -> Table:
        """New episodes."""
        self._table = self._episodes.reset()
        return self._table

    def step(self, actions: NDArray[Any]) -> tuple[Table, Table, bool]:
        """Make the moves."""
        moves = torch.from_numpy(np.asarray(actions, np.int64))
        moved = after(torch.from_numpy(self._table), moves, self._move)
        self._table, rewards, ended = self._episodes.step(moved.numpy())
        return self._table, rewards, ended

    def ratios(self) -> Any:
        """As theirs."""
        return self._episodes.ratios()


def after(table: Tensor, moves: Tensor, step: float) -> Tensor:
    """(b, g) actions that make (b,) moves from where the groups are now."""
    groups = table.shape[1]
    group, down = moves // 2, moves % 2
    by = torch.where(moves == 2 * groups, 0.0, step * (1.0 - 2.0 * down))
    here = torch.arange(groups) == group.unsqueeze(1)
    now = table[:, :, NOW] / BOUND
    return (now + here * by.unsqueeze(1)).clamp(-1.0, 1.0) * table[:, :, PRESENT]


class Worth(nn.Module):  # type: ignore[misc]
    """What each move is worth: (b, 2 g + 1). A move of a group that is not there is to stay."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.body = Body(width, layers)
        self.up_down = nn.Linear(width, 2)
        self.stay = nn.Linear(2 * width, 1)

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b, 2 g + 1)."""
        present = table[:, :, PRESENT : PRESENT + 1]
        x = self.body(table)
        stay = self.stay(torch.cat(pooled(x, present), dim=1))
        moved = stay.unsqueeze(1) + self.up_down(x) * present
        return torch.cat([moved.flatten(1), stay], dim=1)

    def set_training_mode(self, mode: bool) -> None:
        """As `train`."""
        self.train(mode)

    def _predict(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self(obs).argmax(dim=1)


class Greedy(nn.Module):  # type: ignore[misc]
    """An actor that makes the move that is worth most."""

    def __init__(self, worth: nn.Module, step: float) -> None:
        super().__init__()
        self.worth, self.step = worth, step

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b, g)."""
        worth = self.worth(table)
        up_down = worth[:, :-1].unflatten(1, (-1, 2))
        best = worth.max(dim=1, keepdim=True).values
        # Moves of which none other is better; the first of equals alone, and stay before all.
        staying = worth[:, -1:] >= best
        chosen = (up_down >= best.unsqueeze(2)).float()
        first = (chosen.flatten(1).cumsum(1) == 1.0).float() * chosen.flatten(1)
        by = first.unflatten(1, (-1, 2))
        by = (by[:, :, 0] - by[:, :, 1]) * self.step * (1.0 - staying.float())
        return (table[:, :, NOW] / BOUND + by).clamp(-1.0, 1.0) * table[:, :, PRESENT]


class GroupDqnPolicy(DQNPolicy):  # type: ignore[misc]
    """For DQN."""

    def __init__(self, *args: Any, width: int = 48, layers: int = 2, **kw: Any) -> None:
        self._sizes = (width, layers)
        super().__init__(*args, **kw)

    def _build(self, lr_schedule: Any) -> None:
        self.q_net, self.q_net_target = self._worth(), self._worth()
        self.q_net_target.load_state_dict(self.q_net.state_dict())
        self.q_net_target.set_training_mode(False)
        self.optimizer = self.optimizer_class(
            self.q_net.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _worth(self) -> Any:
        return Worth(*self._sizes)


def dqn(settings: Dqn, world: World, seed: int) -> Sb3Learner:
    """Deep Q-learning."""
    repeatable(seed)
    episodes = world.episodes(settings.slots, seed, settings.copies)
    model = DQN(
        GroupDqnPolicy,
        EpisodesVecEnv(ByMoves(episodes, settings.move), settings.copies, spaces.Discrete(MOVES)),
        seed=seed,
        target_update_interval=settings.slots,
        exploration_fraction=settings.exploring,
        exploration_final_eps=settings.explored,
        policy_kwargs={"width": settings.width, "layers": settings.layers},
        **replay(settings),
    )
    episodes.seed(seed)
    return Sb3Learner(model, lambda model: Greedy(model.q_net, settings.move))
