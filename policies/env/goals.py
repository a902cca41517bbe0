"""The goals of an objective as terms of a reward: what a tick was worth.

Each term is a function of what was felt, higher is better, and a logarithm or a ratio. A reward is
the difference between ours and the base's on the same requests, so no term needs a scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from controlplane.model.objective import Objective
from controlplane.model.observation import Floats
from policies.simulator import Case, Outcome, Telemetry, station_of
from policies.simulator.state import BIN_FROM, BIN_WIDTH

IDLE_POWER = 0.5
"""Of an endpoint's power when it is busy all the time: half of it is drawn by idling (L. A. Barroso
and U. Hoelzle, "The case for energy-proportional computing", Computer 40, 2007); between the two it
is in proportion (X. Fan, W.-D. Weber, L. A. Barroso, ISCA 2007)."""


@dataclass(frozen=True, slots=True, eq=False)
class Felt:
    """What the requests of a tick got, and what the endpoints did for it."""

    outcome: Outcome
    """Of all requests."""
    utilisation: Floats = field(default_factory=lambda: np.ones(1))
    """(n,) part of each endpoint's workers that was busy."""
    workers: Floats = field(default_factory=lambda: np.ones(1))
    """(n,) of each endpoint."""
    price: Floats = field(default_factory=lambda: np.ones(1))
    """(n,) of a worker that is busy for a second."""
    by_class: Mapping[str, Outcome] = field(default_factory=dict)
    """Where classes of requests are told apart."""

    @classmethod
    def of(cls, case: Case, by_class: Mapping[str, Outcome], seen: Telemetry | None) -> Felt:
        """What requests got, class by class, beside what the endpoints did since the last tick:
        `seen`, by proxies of any of the case's regions. None: not known."""
        outcome = Outcome.together(by_class.values())
        if len(by_class) == 1:
            by_class = {}
        if seen is None:
            return cls(outcome, by_class=by_class)
        stations = [case.stations[station_of(one)] for one in seen.endpoints]
        workers = np.array([station.workers for station in stations], np.float64)
        price = np.array([station.price for station in stations])
        return cls(outcome, seen.utilisation, workers, price, by_class)


def latency_mean(felt: Felt, _: Objective) -> float:
    """-log of the mean latency of the successes; 0 without any."""
    return -float(np.log(felt.outcome.mean_s)) if _successes(felt) else 0.0


def latency_p99(felt: Felt, _: Objective) -> float:
    """-log of the 99th percentile of the successes; 0 without any."""
    return -float(np.log(felt.outcome.quantile_s(0.99))) if _successes(felt) else 0.0


def errors(felt: Felt, _: Objective) -> float:
    """Minus the ratio of failures."""
    return -felt.outcome.error_ratio


def fairness(felt: Felt, _: Objective) -> float:
    """log of Jain's index of utilisation: 0 where all are as busy, -log n where one does all.

    R. Jain, D.-M. Chiu, W. Hawe, "A quantitative measure of fairness", DEC TR-301, 1984.
    """
    return float(np.log(jain(felt.utilisation)))


def cost(felt: Felt, _: Objective) -> float:
    """-log of the price of the busy workers per request; 0 without any."""
    spent = float((felt.price * felt.workers * felt.utilisation).sum())
    return -float(np.log(spent / felt.outcome.requests)) if spent and felt.outcome.requests else 0.0


def energy(felt: Felt, _: Objective) -> float:
    """-log of the energy per request, in seconds of one busy worker's power; 0 without any."""
    power = felt.workers * (IDLE_POWER + (1.0 - IDLE_POWER) * felt.utilisation)
    requests = felt.outcome.requests
    return -float(np.log(power.sum() / requests)) if requests else 0.0


def slo(felt: Felt, objective: Objective) -> float:
    """The ratio of requests that succeed in time; 1 without any."""
    requests = felt.outcome.requests
    return within(felt.outcome, objective.slo_latency_s) / requests if requests else 1.0


def value(felt: Felt, objective: Objective) -> float:
    """The part of what all requests are worth that those in time bring; 1 without any."""
    classes = felt.by_class or {"": felt.outcome}
    worth = {name: objective.class_values.get(name, 1.0) for name in classes}
    whole = sum(worth[name] * one.requests for name, one in classes.items())
    got = sum(worth[name] * within(one, objective.slo_latency_s) for name, one in classes.items())
    return float(got / whole) if whole else 1.0


Term = Callable[[Felt, Objective], float]

TERMS: Mapping[str, Term] = {
    "latency_mean": latency_mean,
    "latency_p99": latency_p99,
    "errors": errors,
    "fairness": fairness,
    "cost": cost,
    "energy": energy,
    "slo": slo,
    "value": value,
}
"""By the name of their weight."""


def worth(felt: Felt, objective: Objective) -> float:
    """What a tick was worth: the weighted sum of the terms that count."""
    return sum(
        float(weight) * term(felt, objective)
        for name, term in TERMS.items()
        if (weight := getattr(objective, name))
    )


def potential(felt: Felt, objective: Objective) -> float:
    """What a state promises, for shaping; it is not worth anything itself."""
    weight = objective.fairness_potential
    return weight * fairness(felt, objective) if weight else 0.0


def shaped(before: float, after: float, discount: float, *, ended: bool) -> float:
    """discount P(s') - P(s), which added to any reward leaves the best policy what it was.

    A. Y. Ng, D. Harada, S. Russell, "Policy invariance under reward transformations", ICML 1999.
    An episode that ends has nothing left to promise. One that time cuts off has, and its potential
    stays.
    """
    return (0.0 if ended else discount * after) - before


class Promised:
    """The potentials of several episodes side by side, which are cut off by time: that of the last
    state stays."""

    def __init__(self, objective: Objective, discount: float) -> None:
        """`discount`: the learner's."""
        self._objective, self._discount = objective, discount
        self._before: list[float] = []

    def begin(self, felt: Sequence[Felt]) -> None:
        """What the first states of new episodes promise."""
        self._before = [potential(one, self._objective) for one in felt]

    def shaping(self, felt: Sequence[Felt]) -> list[float]:
        """What is to be added to the reward of each for coming here."""
        now = [potential(one, self._objective) for one in felt]
        pairs = zip(self._before, now, strict=True)
        self._before = now
        return [shaped(*pair, self._discount, ended=False) for pair in pairs]


def within(outcome: Outcome, latency_s: float) -> float:
    """Successes that took at most so long, within 2 % of the latency."""
    last = int((np.log(latency_s) - BIN_FROM) / BIN_WIDTH)
    return float(outcome.histogram[: max(last, 0)].sum())


def jain(shares: Floats) -> float:
    """(n,) of anything of 0 or more: (sum x)^2 / (n sum x^2); 1 where all are 0."""
    squares = float((shares**2).sum()) * len(shares)
    return float(shares.sum() ** 2 / squares) if squares > 0.0 else 1.0


def _successes(felt: Felt) -> bool:
    return felt.outcome.requests > felt.outcome.failed
