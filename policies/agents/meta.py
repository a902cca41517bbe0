"""Learning to learn: parameters from which a few steps on little data go far.

MAML (C. Finn, P. Abbeel, S. Levine, "Model-agnostic meta-learning for fast adaptation of deep
networks", ICML 2017): the loss after a few steps of gradient descent on a task's first data,
measured on its other data, is itself descended. Its gradient goes through those steps (second
order), or takes them for constants (first order). Reptile (A. Nichol, J. Achiam, J. Schulman, "On
first-order meta-learning algorithms", 2018) moves towards where the steps end, and needs no second
data. All are written for any loss of parameters and data, functions of `torch.func`.
"""

# ruff: noqa: ANN401 - data of any kind
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

Parameters = dict[str, Tensor]
Loss = Callable[[Parameters, Any], Tensor]
"""Of parameters and the data of one task; data are tensors, or tuples of them."""


def adapted(
    loss: Loss, start: Mapping[str, Tensor], data: Any, *, rate: float, steps: int, order: int = 2
) -> Parameters:  # fmt: skip
    """Where `steps` of gradient descent on the data lead; differentiable if `order` is 2."""
    now = dict(start)
    for _ in range(steps):
        slope = grad(loss)(now, data)
        if order == 1:
            slope = {name: one.detach() for name, one in slope.items()}
        now = {name: now[name] - rate * slope[name] for name in now}
    return now


def maml_slope(
    loss: Loss,
    start: Parameters,
    support: Any,
    query: Any,
    *,
    rate: float,
    steps: int,
    order: int = 2,
) -> Parameters:  # fmt: skip
    """The gradient of the mean loss after adapting; data have a first axis of tasks.

    With no steps it is that of the mean loss over all tasks: joint training.
    """

    def after(now: Parameters, first: Any, second: Any) -> Tensor:
        moved = adapted(loss, now, first, rate=rate, steps=steps, order=order)
        return loss(moved, second)

    def over_tasks(now: Parameters) -> Tensor:
        each: Tensor = vmap(after, in_dims=(None, 0, 0))(now, support, query)
        return each.mean()

    slope: Parameters = grad(over_tasks)(start)
    return slope


def reptile_slope(
    loss: Loss, start: Parameters, data: Any, *, rate: float, steps: int
) -> Parameters:
    """Where from: parameters minus the mean of where `steps` on each task's data lead."""

    def ends(first: Any) -> Parameters:
        return adapted(loss, start, first, rate=rate, steps=steps, order=1)

    reached: Parameters = vmap(ends)(data)
    return {name: (start[name] - reached[name].mean(0)).detach() for name in start}


def stepped(optimiser: torch.optim.Optimizer, parameters: Parameters, slope: Parameters) -> None:
    """One step of an optimiser of these parameters."""
    for name, one in parameters.items():
        one.grad = slope[name].detach()
    optimiser.step()
