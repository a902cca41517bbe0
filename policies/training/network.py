"""The network: one layer shared by all groups, which see each other through means and maxima.

Reordering the groups reorders the answers (equivariance), and no weight belongs to a place in the
table, so one model serves any number of groups.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from controlplane.model.features import FEATURES

PRESENT = FEATURES.index("present")
FAR_BELOW = -1e4


class Mixing(nn.Module):  # type: ignore[misc]
    """h_g = tanh(A x_g + B mean(x) + C max(x)), over the groups that are there."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.own = nn.Linear(inputs, outputs)
        self.mean = nn.Linear(inputs, outputs, bias=False)
        self.most = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(b, g, inputs) and (b, g, 1) to (b, g, outputs)."""
        mean, most = pooled(x, present)
        mixed = self.own(x) + (self.mean(mean) + self.most(most)).unsqueeze(1)
        return torch.tanh(mixed) * present


def pooled(x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """(b, k) mean and maximum over the groups that are there."""
    mean = (x * present).sum(1) / present.sum(1).clamp(min=1.0)
    most = (x + (1.0 - present) * FAR_BELOW).max(1).values
    return mean, most.clamp(min=FAR_BELOW / 10.0)


class Body(nn.Module):  # type: ignore[misc]
    """Some mixing layers."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        sizes = [len(FEATURES), *[width] * layers]
        self.layers = nn.ModuleList(Mixing(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b, g, width)."""
        present = table[:, :, PRESENT : PRESENT + 1]
        x = table
        for layer in self.layers:
            x = layer(x, present)
        return x


class Actor(nn.Module):  # type: ignore[misc]
    """Where to move each group: (b, g), 0 where there is none; not bounded yet."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.body = Body(width, layers)
        self.head = nn.Linear(width, 1)
        # It begins as the base: a correction of about nothing.
        nn.init.uniform_(self.head.weight, -1e-3, 1e-3)
        nn.init.zeros_(self.head.bias)

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b, g)."""
        return self.head(self.body(table)).squeeze(-1) * table[:, :, PRESENT]


class Critic(nn.Module):  # type: ignore[misc]
    """What the rest of the episode will be worth: (b,)."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.body = Body(width, layers)
        self.head = nn.Linear(2 * width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b,)."""
        present = table[:, :, PRESENT : PRESENT + 1]
        mean, most = pooled(self.body(table), present)
        return self.head(torch.cat([mean, most], dim=1)).squeeze(-1)


class Released(nn.Module):  # type: ignore[misc]
    """The actor as it is released: bounded log residuals."""

    def __init__(self, actor: Actor, bound: float) -> None:
        super().__init__()
        self.actor = actor
        self.bound = bound

    def forward(self, features: Tensor) -> Tensor:
        """(b, g, features) to (b, g) residuals within the bound."""
        return self.actor(features).clamp(-1.0, 1.0) * self.bound
