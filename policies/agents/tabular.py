"""Q-learning with a table (C. J. C. H. Watkins, "Learning from delayed rewards", 1989).

To teach, and as the least that a network has to beat. Each group is a learner of its own with a
table that all groups share; what it knows is cut into a few steps: how fast it is beside the
others, how busy the service is, and where it stands. Its moves are down, stay and up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from controlplane.model.features import FEATURES
from policies.agents.network import PRESENT
from policies.agents.registry import Between, Losses, Told, nothing
from policies.agents.repeat import repeatable
from policies.agents.settings import QLearning
from policies.env.episodes import BOUND, World

CAPACITY = (-0.6, -0.35, -0.12, 0.12, 0.35)
"""Where the logarithm of the capacity beside the others is cut."""
LOAD = (0.6, 0.7, 0.8)
MOVES = 3
_COLUMNS = [FEATURES.index(name) for name in ("capacity", "load", "current_over_base")]


class TablePolicy(nn.Module):  # type: ignore[misc]
    """The table, and the greedy policy by it."""

    def __init__(self, move: float) -> None:
        super().__init__()
        self.move = move
        places = tuple((np.arange(-1.0, 1.0 - move / 2, move) + move / 2).tolist())
        self.edges = (CAPACITY, LOAD, places)
        self.sizes = tuple(len(cuts) + 1 for cuts in self.edges)
        states = int(np.prod(self.sizes))
        self.worth = nn.Parameter(torch.zeros(states, MOVES), requires_grad=False)

    def states(self, table: Tensor) -> Tensor:
        """(b, g) the number of the state that each group is in."""
        capacity, load, now = (table[:, :, i] for i in _COLUMNS)
        state = torch.zeros_like(capacity)
        for value, cuts, size in zip(
            (capacity, load, now / BOUND), self.edges, self.sizes, strict=True
        ):
            step = sum((value >= cut).to(value.dtype) for cut in cuts)
            state = state * size + step
        return state.long()

    def moved(self, table: Tensor, moves: Tensor) -> Tensor:
        """(b, g) actions after (b, g) moves: 0 down, 1 stay, 2 up."""
        now = table[:, :, _COLUMNS[2]] / BOUND
        return (now + (moves - 1.0) * self.move).clamp(-1.0, 1.0) * table[:, :, PRESENT]

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b, g): the move of each group that is worth most."""
        moves = self.worth[self.states(table)].argmax(dim=-1)
        return self.moved(table, moves.to(table.dtype))


class QLearner:
    """Plays with some chance, and learns from each step at once."""

    def __init__(self, settings: QLearning, world: World, seed: int) -> None:
        repeatable(seed)
        self._settings = settings
        self._episodes = world.episodes(settings.slots, seed, settings.copies)
        self._random = np.random.default_rng([seed, 5])
        self.policy = TablePolicy(settings.move)
        self._done = 0

    def log_to(self, losses: Losses) -> None:
        """It has no losses."""

    def learn(self, steps: int, told: Told, between: Between = nothing) -> None:
        """Whole episodes."""
        while self._done < steps:
            between()
            table, ended, returns = self._episodes.reset(), False, 0.0
            while not ended:
                now = torch.from_numpy(table)
                states, moves = self.policy.states(now), self._moves(now)
                table, rewards, ended = self._episodes.step(self.policy.moved(now, moves).numpy())
                self._update(now, states, moves, rewards, torch.from_numpy(table))
                returns += float(rewards.mean())
                self._done += self._episodes.slots
            told(self._done, self.policy, returns)

    def actor(self) -> nn.Module:
        """The greedy policy."""
        return self.policy

    def blank(self) -> nn.Module:
        """As it is now."""
        return self.policy

    def state(self) -> dict[str, Any]:
        """The table, and where chance stands."""
        return {
            "steps": self._done,
            "worth": self.policy.worth,
            "random": self._random.bit_generator.state,
            "episodes": self._episodes.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """As it was."""
        self._done = state["steps"]
        self.policy.worth.data.copy_(state["worth"])
        self._random.bit_generator.state = state["random"]
        self._episodes.restore(state["episodes"])

    def _moves(self, table: Tensor) -> Tensor:
        best = self.policy.worth[self.policy.states(table)].argmax(dim=-1).numpy()
        chance = self._random.random(best.shape) < self._settings.explored
        return torch.from_numpy(np.where(chance, self._random.integers(0, MOVES, best.shape), best))

    def _update(
        self, table: Tensor, states: Tensor, moves: Tensor, rewards: np.ndarray, after: Tensor
    ) -> None:
        """Q(s, a) += rate (r + discount max Q(s', .) - Q(s, a)), for all groups that are there.

        Where several groups are in one state and make one move, by the mean of what they say.
        """
        worth = self.policy.worth
        here = table[:, :, PRESENT].bool()
        beyond = worth[self.policy.states(after)].max(dim=-1).values
        wanted = torch.from_numpy(rewards).unsqueeze(1) + self._settings.discount * beyond
        cell = (states * MOVES + moves.long())[here]
        error = (wanted - worth.view(-1)[states * MOVES + moves.long()])[here]
        sums = torch.bincount(cell, weights=error.double(), minlength=worth.numel())
        counts = torch.bincount(cell, minlength=worth.numel()).clamp(min=1)
        worth.view(-1).add_((self._settings.learning_rate * sums / counts).float())


def q_learning(settings: QLearning, world: World, seed: int) -> QLearner:
    """A learner that knows nothing yet."""
    return QLearner(settings, world, seed)
