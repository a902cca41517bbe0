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

    def __init__(self, width: int, layers: int, more: int = 0) -> None:
        """`more`: numbers that are known of each group beside the features."""
        super().__init__()
        sizes = [len(FEATURES) + more, *[width] * layers]
        self.layers = nn.ModuleList(Mixing(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features and more) to (b, g, width)."""
        present = table[:, :, PRESENT : PRESENT + 1]
        x = table
        for layer in self.layers:
            x = layer(x, present)
        return x


class Actor(nn.Module):  # type: ignore[misc]
    """Where to move each group: (b, g), 0 where there is none; not bounded yet.

    Shares are made to sum to 1, so to move all groups alike does nothing. Left free, that direction
    takes up whatever noise the gradient has until every answer is at its bound and none matters;
    `centred` takes it away: the answers of a service sum to 0.
    """

    def __init__(self, width: int, layers: int, *, centred: bool = False) -> None:
        super().__init__()
        self.centred = centred
        self.body = Body(width, layers)
        self.head = nn.Linear(width, 1)
        # It begins as the base: a correction of about nothing.
        nn.init.uniform_(self.head.weight, -1e-3, 1e-3)
        nn.init.zeros_(self.head.bias)

    @property
    def shape(self) -> dict[str, int | bool]:
        """Its sizes, with the names that recipes have for them."""
        layers = len(self.body.layers)
        return {"width": self.head.in_features, "layers": layers, "centred": self.centred}

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b, g)."""
        return self.answer(self.body(table), table)

    def answer(self, x: Tensor, table: Tensor) -> Tensor:
        """What the body made of the table, (b, g, width), to (b, g)."""
        present = table[:, :, PRESENT]
        moves = self.head(x).squeeze(-1) * present
        if self.centred:
            mean = moves.sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1.0)
            moves = (moves - mean) * present
        return moves


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


class ActionCritic(nn.Module):  # type: ignore[misc]
    """What it will be worth to move the groups so: (b, outputs)."""

    def __init__(self, width: int, layers: int, outputs: int = 1) -> None:
        super().__init__()
        self.body = Body(width, layers, more=1)
        self.head = nn.Linear(2 * width, outputs)
        # A critic that knows nothing must not send the actor anywhere: it may never come back.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, table: Tensor, actions: Tensor) -> Tensor:
        """(b, g, features) and (b, g) to (b, outputs)."""
        present = table[:, :, PRESENT : PRESENT + 1]
        x = torch.cat([table, actions.unsqueeze(-1) * present], dim=2)
        return self.head(torch.cat(pooled(self.body(x), present), dim=1))


class Bounded(nn.Module):  # type: ignore[misc]
    """An actor whose answers are squashed into -1..1 rather than cut."""

    def __init__(self, actor: nn.Module) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b, g)."""
        return torch.tanh(self.actor(table))


class Released(nn.Module):  # type: ignore[misc]
    """The actor as it is released: bounded log residuals."""

    def __init__(self, actor: nn.Module, bound: float) -> None:
        super().__init__()
        self.actor = actor
        self.bound = bound

    def forward(self, features: Tensor) -> Tensor:
        """(b, g, features) to (b, g) residuals within the bound."""
        return self.actor(features).clamp(-1.0, 1.0) * self.bound
