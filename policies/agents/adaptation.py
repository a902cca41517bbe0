"""A policy adapted to one service by minutes of its data.

The clipped surrogate of PPO (J. Schulman et al., 2017) on episodes of that service alone, without a
critic: returns are measured by those of the other slots, be they copies of the same minutes or
other minutes of the service. What is adapted may be a part of the network, so that little data has
little to fit.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Normal

from policies.agents.meta_policy import Played, explored
from policies.agents.network import PRESENT
from policies.env.episodes import Episodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """How."""

    rounds: int = 1
    """Times that episodes are played in all slots, by the policy of then."""
    steps: int = 20
    """Of Adam in each round."""
    rate: float = 1e-3
    clip: float = 0.2
    deviation: float = 0.3
    """Standard deviation of the exploration, in actions."""
    discount: float = 0.85
    copies: int = 8
    """Slots in a row that are measured by one another."""
    only: str = ""
    """Adapt the parameters whose names begin so; the others stay."""


def adapted_to(start: nn.Module, episodes: Episodes, how: Adaptation, seed: int) -> nn.Module:
    """The policy after it; `start` stays as it is. ValueError where nothing is to be adapted."""
    actor = copy.deepcopy(start)
    moving = [one for name, one in actor.named_parameters() if name.startswith(how.only)]
    if not moving:
        raise ValueError(f"no parameter of the policy begins with {how.only!r}")
    chance = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(moving, lr=how.rate)
    for _ in range(how.rounds):
        played, _ = explored(
            episodes, actor, chance,
            deviation=how.deviation, discount=how.discount, copies=how.copies,
        )  # fmt: skip
        _descend(actor, optimiser, played, how)
    return actor.eval()


def _descend(
    actor: nn.Module, optimiser: torch.optim.Optimizer, played: Played, how: Adaptation
) -> None:
    table, actions, advantage = played
    present = table[..., PRESENT]

    def likely() -> torch.Tensor:
        around = Normal(actor(table), how.deviation, validate_args=False)
        return (around.log_prob(actions) * present).sum(-1)

    with torch.no_grad():
        before = likely()
    for _ in range(how.steps):
        ratio = (likely() - before).exp()
        clipped = ratio.clamp(1.0 - how.clip, 1.0 + how.clip)
        loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


class Scaled(nn.Module):  # type: ignore[misc]
    """A policy that goes so much as far: one number to adapt, and 0 is the base."""

    def __init__(self, actor: nn.Module, gain: float) -> None:
        super().__init__()
        self.actor, self.gain = actor, gain

    def forward(self, table: torch.Tensor) -> torch.Tensor:
        """(b, g, features) to (b, g)."""
        return self.gain * self.actor(table).clamp(-1.0, 1.0)
