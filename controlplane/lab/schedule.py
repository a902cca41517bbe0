"""When which request arrives, what work it asks for, and at which Envoy: fixed before the run.

Open loop: arrivals do not wait for answers. One schedule is played to every lane at the same time,
so that lanes differ in nothing but how they balance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_REQUESTS = 5_000_000


@dataclass(frozen=True, slots=True)
class WorkMix:
    """What requests ask for: kinds of requests, each lognormal around its mean."""

    means_s: tuple[float, ...] = (0.055, 0.180)
    parts: tuple[float, ...] = (0.8, 0.2)
    """How much of the requests is of each kind; sums to 1."""
    variation: float = 0.3
    """Coefficient of variation within a kind."""

    def __post_init__(self) -> None:
        if len(self.means_s) != len(self.parts) or abs(sum(self.parts) - 1.0) > 1e-9:
            raise ValueError("a mix needs a part for each mean, and parts that sum to 1")

    @property
    def mean_s(self) -> float:
        """Mean work of a request, seconds at speed 1."""
        return sum(m * p for m, p in zip(self.means_s, self.parts, strict=True))

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """The work of `count` requests."""
        kind = rng.choice(len(self.parts), size=count, p=self.parts)
        sigma = np.sqrt(np.log1p(self.variation**2))
        noise = rng.lognormal(-(sigma**2) / 2, sigma, size=count)
        drawn: NDArray[np.float64] = np.asarray(self.means_s)[kind] * noise
        return drawn


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The rate over time. `profile` scales it from a moment on: (seconds, factor), in order."""

    rate_rps: float
    profile: tuple[tuple[float, float], ...] = ()
    """Before the first entry the factor is 1."""
    burst_factor: float = 1.0
    """Above 1: the rate switches at random between this times the mean and as much below it."""
    burst_s: float = 1.0
    """Mean length of each of the two."""

    def __post_init__(self) -> None:
        if self.rate_rps <= 0 or not 1.0 <= self.burst_factor <= 2.0 or self.burst_s <= 0:
            raise ValueError("want a rate above 0 and a burst factor from 1 to 2")

    def draw(self, rng: np.random.Generator, from_s: float, until_s: float) -> NDArray[np.float64]:
        """Arrival times of a Poisson process whose rate follows the profile and the bursts.

        Unit-rate arrivals are drawn and mapped through the inverse of the cumulative rate.
        """
        edges, factors = self._pieces(rng, from_s, until_s)
        cumulative = np.concatenate(([0.0], np.cumsum(self.rate_rps * factors * np.diff(edges))))
        expected = float(cumulative[-1])
        if expected > MAX_REQUESTS:
            raise ValueError(f"about {expected:.0f} requests are more than {MAX_REQUESTS}")
        gaps = rng.exponential(size=int(expected + 8 * np.sqrt(expected) + 16))
        units = np.cumsum(gaps)
        drawn: NDArray[np.float64] = np.interp(units[units < expected], cumulative, edges)
        return drawn

    def _pieces(
        self, rng: np.random.Generator, from_s: float, until_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        edges = {from_s, until_s, *(at for at, _ in self.profile if from_s < at < until_s)}
        switches: list[float] = []
        if self.burst_factor > 1:
            at = from_s
            while (at := at + float(rng.exponential(self.burst_s))) < until_s:
                switches.append(at)
        ordered = np.array(sorted(edges | set(switches)))
        middles = (ordered[:-1] + ordered[1:]) / 2
        factors = np.ones(len(middles))
        for at, factor in self.profile:
            factors[middles >= at] = factor
        high = np.searchsorted(np.array(switches), middles) % 2 == 0
        if self.burst_factor > 1:
            factors *= np.where(high, self.burst_factor, 2.0 - self.burst_factor)
        return ordered, factors


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """One row a request, in the order of arrival."""

    at_s: NDArray[np.float64]
    """After the start of the run; below 0 is warm-up and not counted."""
    work_s: NDArray[np.float64]
    envoy: NDArray[np.intp]
    """Which of the lane's Envoys is asked."""
    until_s: float
    """The end of arrivals."""
    envoys: int

    def __post_init__(self) -> None:
        if not len(self.at_s) == len(self.work_s) == len(self.envoy):
            raise ValueError("a schedule has a time, a work and an Envoy for each request")
        if len(self.at_s) and (np.diff(self.at_s) < 0).any():
            raise ValueError("arrivals are in order")
        if len(self.envoy) and not 0 <= self.envoy.min() <= self.envoy.max() < self.envoys:
            raise ValueError(f"an Envoy outside 0..{self.envoys - 1}")

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which requests count: those that arrive after the warm-up."""
        return self.at_s >= 0.0


def draw_schedule(
    seed: int,
    arrivals: Arrivals,
    work: WorkMix,
    *,
    duration_s: float,
    envoys: int,
    warmup_s: float = 0.0,
) -> Schedule:
    """The schedule of a seed: the same each time it is asked for.

    Requests pick an Envoy at random, as connections behind a layer-4 balancer do.
    """
    times, works, picks = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    at_s = arrivals.draw(times, -warmup_s, duration_s)
    return Schedule(
        at_s=at_s,
        work_s=work.draw(works, len(at_s)),
        envoy=picks.integers(0, envoys, size=len(at_s)),
        until_s=duration_s,
        envoys=envoys,
    )
