"""What the clients do: when requests arrive, at which proxy, and how much work each one is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from policies.simulator.steps import Steps
from policies.simulator.trace import Trace

Floats = NDArray[np.float64]


class Law(StrEnum):
    """How the work of a request is distributed."""

    DETERMINISTIC = "deterministic"
    EXPONENTIAL = "exponential"
    LOGNORMAL = "lognormal"
    HYPEREXPONENTIAL = "hyperexponential"
    """Two exponentials with balanced means."""
    BIMODAL = "bimodal"
    """Two fixed sizes: most requests are cheap, a few are ten times dearer."""


DEAR = 10.0


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a request: seconds on a worker of speed 1."""

    mean_s: float = 0.08
    law: Law = Law.EXPONENTIAL
    scv: float = 1.0
    """Squared coefficient of variation, where the law leaves it open."""

    def __post_init__(self) -> None:
        if self.mean_s <= 0.0:
            raise ValueError("the mean work is above 0")
        if self.law is Law.HYPEREXPONENTIAL and self.scv < 1.0:
            raise ValueError("a hyperexponential law varies at least as much as an exponential one")
        if self.law is Law.BIMODAL and not 0.0 < self.scv < 1.9:
            raise ValueError("sizes of 1 to 10 have a variation (scv) between 0 and 1.9")

    def sample(self, count: int, random: np.random.Generator) -> Floats:
        """The work of `count` requests."""
        match self.law:
            case Law.DETERMINISTIC:
                drawn = np.ones(count)
            case Law.EXPONENTIAL:
                drawn = random.exponential(1.0, count)
            case Law.LOGNORMAL:
                sigma2 = np.log1p(self.scv)
                drawn = random.lognormal(-sigma2 / 2.0, np.sqrt(sigma2), count)
            case Law.HYPEREXPONENTIAL:
                p = (1.0 + np.sqrt((self.scv - 1.0) / (self.scv + 1.0))) / 2.0
                often = random.random(count) < p
                drawn = random.exponential(1.0, count) * np.where(often, 0.5 / p, 0.5 / (1.0 - p))
            case Law.BIMODAL:
                p = dear_part(self.scv)
                cheap = 1.0 / (1.0 + p * (DEAR - 1.0))
                drawn = np.where(random.random(count) < p, DEAR * cheap, cheap)
        return np.asarray(drawn * self.mean_s, dtype=np.float64)


def dear_part(scv: float) -> float:
    """The part of requests that is dear in a bimodal law of this variation.

    With m = 1 + 9p the second moment over the squared mean is (1 + 99p) / m^2 = 1 + scv.
    """
    extra = DEAR - 1.0
    a, b, c = (1.0 + scv) * extra**2, 2.0 * (1.0 + scv) * extra - (DEAR**2 - 1.0), scv
    return float((-b - np.sqrt(b * b - 4.0 * a * c)) / (2.0 * a))


@dataclass(frozen=True, slots=True)
class RequestClass:
    """Some of the requests, which cost and are worth something else than the others."""

    name: str = "all"
    part: float = 1.0
    """Of the requests; the parts of all classes sum to 1."""
    work: float = 1.0
    """Its work, as a multiple of what `Work` says."""
    value: float = 1.0
    """What one that is answered well is worth."""

    def __post_init__(self) -> None:
        if self.part <= 0.0 or self.work <= 0.0:
            raise ValueError(f"class {self.name}: it has some requests, which are some work")


@dataclass(frozen=True, slots=True)
class Keys:
    """What requests are hashed by: `count` keys, the k-th as popular as 1 / k ** `skew` (Zipf)."""

    count: int = 10_000
    skew: float = 0.0

    def sample(self, requests: int, random: np.random.Generator) -> NDArray[np.uint64]:
        """(requests,) hashes."""
        odds = np.arange(1, self.count + 1, dtype=np.float64) ** -self.skew
        drawn = random.choice(self.count, requests, p=odds / odds.sum())
        return hashed(drawn.astype(np.uint64))


def hashed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's mixing function, where Envoy has xxHash: as good as random, and cheap."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


@dataclass(frozen=True, slots=True)
class Mmpp:
    """A Markov-modulated Poisson process: phases of random length, each with a rate of its own."""

    rates: tuple[float, ...]
    """Of each phase, relative to `Traffic.rate_rps`."""
    lasts_s: tuple[float, ...]
    """Mean length of each phase, exponentially distributed; then any other one comes."""

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.lasts_s) or len(self.rates) < 2:
            raise ValueError("wanted a rate and a length for each of two phases or more")
        if min(self.rates) < 0.0 or min(self.lasts_s) <= 0.0:
            raise ValueError("a phase has a rate of at least 0 and a length above 0")

    def steps(self, duration_s: float, random: np.random.Generator) -> Steps:
        """One course of it, beginning in a phase as it is found at a random time."""
        odds, many = np.array(self.lasts_s) / sum(self.lasts_s), len(self.rates)
        phase, at = int(random.choice(many, p=odds)), 0.0
        from_s, value = [], []
        while at < duration_s:
            from_s.append(at)
            value.append(self.rates[phase])
            at += random.exponential(self.lasts_s[phase])
            phase = (phase + 1 + int(random.integers(many - 1))) % many
        return Steps(tuple(from_s), tuple(value))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Open-loop arrivals: clients do not wait for one answer before they send the next request."""

    rate_rps: Steps
    burst: float = 1.0
    """Peak over mean of the bursts; 1 is Poisson."""
    burst_s: float = 0.5
    """Mean length of a burst. Bursts and lulls alternate, each exponentially long."""
    mmpp: Mmpp | None = None
    """Phases that come on top of the rate."""
    trace: Trace | None = None
    """Replayed instead of everything above."""

    def arrivals(self, duration_s: float, random: np.random.Generator) -> Floats:
        """The times of all arrivals until `duration_s`."""
        if self.trace is not None:
            return self.trace.arrivals(duration_s, random)
        rate = self.rate_rps
        if self.burst > 1.0:
            rate = rate * self._bursts(duration_s, random)
        if self.mmpp is not None:
            rate = rate * self.mmpp.steps(duration_s, random)
        times = []
        for i, (begin, value) in enumerate(zip(rate.from_s, rate.value, strict=True)):
            end = rate.from_s[i + 1] if i + 1 < len(rate.from_s) else duration_s
            end = min(end, duration_s)
            if end > begin and value > 0.0:
                count = random.poisson(value * (end - begin))
                times.append(np.sort(random.uniform(begin, end, count)))
        return np.concatenate(times) if times else np.empty(0)

    def _bursts(self, duration_s: float, random: np.random.Generator) -> Steps:
        """Half of the requests come in bursts of `burst` times the mean rate."""
        lull = 0.5 / (1.0 - 0.5 / self.burst)
        lull_s = self.burst_s * (2.0 * self.burst - 1.0)
        from_s, value = [0.0], [lull]
        while from_s[-1] < duration_s:
            for length, then in ((lull_s, self.burst), (self.burst_s, lull)):
                from_s.append(from_s[-1] + random.exponential(length))
                value.append(then)
        return Steps(tuple(from_s), tuple(value))
