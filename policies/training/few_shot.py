"""Few-shot learning measured: MAML, its first order, Reptile, fine-tuning and from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from policies.agents.meta import Parameters, adapted, maml_slope, reptile_slope, stepped
from policies.agents.repeat import repeatable
from policies.env.families import Family

WAYS = ("maml", "first-order", "reptile", "joint", "scratch")
"""`joint`: trained on all tasks as if they were one, then fine-tuned as the others adapt."""
ASKED = 100
"""Values of each task that the error is measured on."""
TRIED = 200
"""Tasks that it is measured on, never seen."""


@dataclass(frozen=True, slots=True)
class Course:
    """As Finn et al. have it for sinusoids, but for how long."""

    iterations: int = 2_000
    tasks: int = 25
    shots: int = 10
    inner_rate: float = 0.01
    inner_steps: int = 1
    outer_rate: float = 1e-3
    reptile_steps: int = 8
    reptile_rate: float = 0.02
    width: int = 40
    seed: int = 1


class Meta:
    """A small network, and how it is taught to learn."""

    def __init__(self, family: Family, course: Course) -> None:
        self.family, self.course = family, course
        repeatable(course.seed)
        width = course.width
        self._net = nn.Sequential(
            nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
        self._random = np.random.default_rng(course.seed)

    def start(self) -> Parameters:
        """Parameters by chance."""
        return {k: v.detach().clone() for k, v in self._net.named_parameters()}

    def loss(self, parameters: Parameters, data: tuple[Tensor, Tensor]) -> Tensor:
        """Mean squared error on (n, 1) inputs and outputs."""
        x, y = data
        said: Tensor = functional_call(self._net, parameters, (x,))
        return ((said - y) ** 2).mean()

    def trained(self, way: str) -> Parameters:
        """What one of WAYS begins a new task with."""
        course, now = self.course, self.start()
        if way == "scratch":
            return now
        optimiser = torch.optim.Adam(now.values(), lr=course.outer_rate)
        for _ in range(course.iterations):
            first, second = self._halves()
            stepped(optimiser, now, self._slope(way, now, first, second))
        return now

    def errors(
        self, start: Parameters, *, steps: int, shots: int | None = None, rate: float | None = None
    ) -> list[float]:
        """Mean squared error on new tasks after 0, 1, ... `steps` steps on `shots` values."""
        random = np.random.default_rng(10_007)
        shots = shots or self.course.shots
        x, y = (_tensor(a) for a in self.family.tasks(random, TRIED, shots + ASKED))
        first, then = (x[:, :shots], y[:, :shots]), (x[:, shots:], y[:, shots:])
        rate = self.course.inner_rate if rate is None else rate

        def after(support: tuple[Tensor, Tensor], query: tuple[Tensor, Tensor]) -> Tensor:
            now, losses = start, [self.loss(start, query)]
            for _ in range(steps):
                now = adapted(self.loss, now, support, rate=rate, steps=1, order=1)
                losses.append(self.loss(now, query))
            return torch.stack(losses)

        each: Tensor = vmap(after)(first, then)
        return [round(float(one), 5) for one in each.mean(0)]

    def _slope(
        self, way: str, now: Parameters, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
    ) -> Parameters:
        course = self.course
        if way == "reptile":
            return reptile_slope(
                self.loss, now, first, rate=course.reptile_rate, steps=course.reptile_steps
            )
        steps = 0 if way == "joint" else course.inner_steps
        order = 1 if way == "first-order" else 2
        return maml_slope(
            self.loss, now, first, second, rate=course.inner_rate, steps=steps, order=order
        )

    def _halves(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Of new tasks: what is adapted to, and other values of the same tasks."""
        shots = self.course.shots
        x, y = (_tensor(a) for a in self.family.tasks(self._random, self.course.tasks, 2 * shots))
        return (x[:, :shots], y[:, :shots]), (x[:, shots:], y[:, shots:])


def compared(family: Family, course: Course, *, steps: int = 10) -> Mapping[str, list[float]]:
    """For each way the error on new tasks after 0 to `steps` steps; each at the rate of its
    training, `scratch` at its best."""
    result = {}
    for way in WAYS:
        meta = Meta(family, course)
        start = meta.trained(way)
        own = course.reptile_rate if way == "reptile" else course.inner_rate
        rates = (own,) if way != "scratch" else (0.01, 0.03, 0.1)
        tried = [meta.errors(start, steps=steps, rate=rate) for rate in rates]
        result[way] = min(tried, key=lambda errors: float(np.nan_to_num(errors[-1], nan=np.inf)))
    return result


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
