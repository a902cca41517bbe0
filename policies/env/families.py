"""Families of tasks that look alike and are not: what learning to learn is measured on.

A task is a function of one number, to be learned from few of its values.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from controlplane.model.observation import Floats
from controlplane.model.queues import queueing


class Family(Protocol):
    """Where tasks come from."""

    def tasks(self, random: np.random.Generator, count: int, shots: int) -> tuple[Floats, Floats]:
        """(count, shots, 1) inputs and outputs, `shots` of each new task."""
        ...


class Sinusoids:
    """The published check (Finn et al. 2017): amplitude .1 to 5, phase 0 to pi, x in -5..5."""

    def tasks(self, random: np.random.Generator, count: int, shots: int) -> tuple[Floats, Floats]:
        """Of random waves."""
        amplitude = random.uniform(0.1, 5.0, (count, 1, 1))
        phase = random.uniform(0.0, np.pi, (count, 1, 1))
        x = random.uniform(-5.0, 5.0, (count, shots, 1))
        return x, amplitude * np.sin(x - phase)


class Stations:
    """How long requests take as a new service gets busier: log of the time over the idle time.

    What is not known of the service: how many servers an endpoint has (1 to 16), how variable its
    work is, and how much of its capacity there really is. The input is the utilisation that the
    declared capacity would mean, twice, about 0.
    """

    def tasks(self, random: np.random.Generator, count: int, shots: int) -> tuple[Floats, Floats]:
        """Of random services."""
        servers = np.exp(random.uniform(0.0, np.log(16.0), (count, 1, 1)))
        variability = np.exp(random.uniform(np.log(0.3), np.log(3.0), (count, 1, 1)))
        real = random.uniform(0.8, 1.2, (count, 1, 1))
        rho = random.uniform(0.05, 0.97, (count, shots, 1))
        y = np.log1p(variability * queueing(rho, servers))
        return 2.0 * (rho * real) - 1.0, y
