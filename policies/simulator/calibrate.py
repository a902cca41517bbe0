"""Fits a case to a recording: what endpoints can do, with how many workers, on what kind of work.

By simulation: cases of some numbers of workers and laws of work replay the requests of the
recording, through the balancer that it was made with and equal weights, and the one whose telemetry
is most like the recorded is taken. What is compared are logarithms, so that a tenth too much is as
bad anywhere: mean latency and 99th percentile of each endpoint, mean latency of the quiet, the
usual and the busy windows, and how requests were split.

Where endpoints say how busy they are, their capacity is what they completed over that, and only the
rest is searched. Elsewhere each endpoint's service time is moved until its mean latency is that of
the recording, for every candidate. Without a busy hour in it a recording says little about
capacity: `Fit.alike` is the range of capacities of candidates that are nearly as good, and the
honest answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from policies.simulator.case import Algorithm, Balancing, Case, Station
from policies.simulator.demand import Law, Traffic, Work
from policies.simulator.recording import Recording
from policies.simulator.state import Floats
from policies.simulator.steps import Steps
from policies.simulator.trace import Trace

WORKERS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)
LAWS = (
    Work(1.0, Law.DETERMINISTIC, 0.0),
    Work(1.0, Law.LOGNORMAL, 0.3),
    Work(1.0, Law.EXPONENTIAL, 1.0),
    Work(1.0, Law.LOGNORMAL, 1.0),
    Work(1.0, Law.LOGNORMAL, 2.0),
    Work(1.0, Law.HYPEREXPONENTIAL, 2.0),
    Work(1.0, Law.HYPEREXPONENTIAL, 4.0),
)
SEEDS = (1, 2)
ROUNDS = 6
"""Steps by which service times come to those of the recording."""
NEARLY = 1.5
"""A candidate whose distance is up to this times the best one's says as much."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Fit:
    """The case that is most like the recording, and how like it is."""

    case: Case
    endpoints: tuple[str, ...]
    """The recorded name of each station."""
    workers: int
    capacity_rps: tuple[float, ...]
    """Of each endpoint, when busy all the time."""
    alike: tuple[float, float]
    """Least and greatest capacity of the service among candidates that are nearly as good."""
    alike_workers: tuple[int, int]
    distance: float
    """Root mean square of the logarithms of what is compared: 0.1 is about 10 %."""
    recorded: Mapping[str, float]
    simulated: Mapping[str, float]
    """Mean latency, and mean over windows and endpoints of the 99th percentile, in seconds; without
    the latter where the recording has none."""

    @property
    def gap(self) -> dict[str, float]:
        """How far the simulated numbers are from the recorded, relative to them."""
        return {name: self.simulated[name] / self.recorded[name] - 1.0 for name in self.recorded}

    def document(self) -> dict[str, Any]:
        """Everything as JSON has it; `case_of` reads it back."""
        work, rate = self.case.work, self.case.traffic.rate_rps
        return {
            "version": 1,
            "name": self.case.name,
            "endpoints": list(self.endpoints),
            "capacity_rps": [round(one, 3) for one in self.capacity_rps],
            "workers": self.workers,
            "work": {"law": str(work.law), "mean_s": work.mean_s, "scv": work.scv},
            "rate_rps": {"from_s": list(rate.from_s), "value": list(rate.value)},
            "proxies": self.case.proxies,
            "algorithm": self.case.balancing.algorithm.name,
            "duration_s": self.case.duration_s,
            "alike": {
                "capacity_rps": [round(one, 3) for one in self.alike],
                "workers": list(self.alike_workers),
            },
            "distance": round(self.distance, 4),
            "recorded": dict(self.recorded),
            "simulated": dict(self.simulated),
            "gap": {name: round(one, 4) for name, one in self.gap.items()},
        }


def case_of(document: Mapping[str, Any]) -> Case:
    """The case that a document of `weir sim calibrate` describes."""
    if document.get("version") != 1:
        raise ValueError("it is not a scenario of version 1")
    work, rate = document["work"], document["rate_rps"]
    return Case(
        name=str(document["name"]),
        stations=_stations(np.array(document["capacity_rps"]), document["workers"], work["mean_s"]),
        traffic=Traffic(Steps(tuple(rate["from_s"]), tuple(rate["value"]))),
        work=Work(work["mean_s"], Law(work["law"]), work["scv"]),
        proxies=int(document["proxies"]),
        duration_s=float(document["duration_s"]),
        balancing=Balancing(Algorithm[document["algorithm"]]),
    )


def calibrate(
    recording: Recording,
    *,
    proxies: int,
    balancing: Balancing | None = None,
    name: str = "calibrated",
    workers: Sequence[int] = WORKERS,
    laws: Sequence[Work] = LAWS,
    progress: Progress | None = None,
) -> Fit:
    """The case most like a recording that was made with this many proxies and equal weights.

    `workers` and `laws` are what is tried. Raises `ValueError` where nothing is known of how long
    an endpoint's requests take.
    """
    unknown = ~(recording.mean_s > 0.0)
    if unknown.any():
        names = ", ".join(np.array(recording.endpoints)[unknown].tolist())
        raise ValueError(f"no latency is known of {names}: leave out who answered nothing")
    base = Case(
        name,
        tuple(Station() for _ in recording.endpoints),
        Traffic(_rate(recording), trace=_replay(recording)),
        proxies=proxies,
        duration_s=recording.window_s * len(recording.succeeded),
        balancing=balancing or Balancing(),
    )
    wanted, tried = _features(recording), []
    candidates = [(many, law) for many in workers for law in laws]
    for i, (many, law) in enumerate(candidates):
        case = _fitted(recording, base, many, law)
        tried.append((_distance(wanted, case, recording.window_s), many, case))
        if progress is not None:
            progress(i + 1, len(candidates))
    distance, most_like, case = min(tried, key=lambda one: one[0])
    alike = [one for one in tried if one[0] <= NEARLY * distance]
    played = Recording.of(case, SEEDS[0], recording.window_s)
    capacity = [s.workers * s.speed.value[0] / case.work.mean_s for s in case.stations]
    return Fit(
        case=replace(case, traffic=Traffic(case.traffic.rate_rps)),
        endpoints=recording.endpoints,
        workers=most_like,
        capacity_rps=tuple(capacity),
        alike=(
            min(one[2].capacity_rps for one in alike),
            max(one[2].capacity_rps for one in alike),
        ),
        alike_workers=(min(one[1] for one in alike), max(one[1] for one in alike)),
        distance=distance,
        recorded=_numbers(recording),
        simulated=_numbers(played),
    )


def _replay(recording: Recording) -> Trace:
    """Arrivals of the recording: in each window as many as ended there, at random."""
    count = recording.ended.sum(1).round().astype(np.int64)
    begins = np.repeat(np.arange(len(count)), count) * recording.window_s
    jitter = np.random.default_rng(SEEDS[0]).random(len(begins)) * recording.window_s
    return Trace(at_s=np.sort(begins + jitter))


def _rate(recording: Recording) -> Steps:
    rate = recording.ended.sum(1) / recording.window_s
    times = np.arange(len(rate)) * recording.window_s
    return Steps(tuple(times.tolist()), tuple(rate.tolist()))


def _stations(capacity_rps: Floats, workers: int, mean_s: float) -> tuple[Station, ...]:
    speeds = capacity_rps * mean_s / workers
    return tuple(Station(workers, Steps.of(speed)) for speed in speeds.tolist())


def _fitted(recording: Recording, base: Case, workers: int, law: Work) -> Case:
    """The candidate's case: capacities as said, or such that mean latencies are as recorded."""
    busy = np.nansum(np.where(np.isfinite(recording.utilisation), recording.utilisation, 0.0), 0)
    known = np.where(np.isfinite(recording.utilisation), recording.ended, 0.0).sum(0)
    said = bool((busy > 0.0).all())
    mean_s = np.maximum(recording.mean_s, 1e-6)
    service = np.where(busy > 0.0, workers * busy / np.maximum(known, 1.0), 0.0)
    service = service * recording.window_s if said else 0.7 * mean_s
    for _ in range(1 if said else ROUNDS):
        typical = float(np.exp(np.log(service).mean()))
        case = replace(
            base,
            work=Work(typical, law.law, law.scv),
            stations=_stations(workers / service, workers, typical),
        )
        if said:
            return case
        played = Recording.of(case, SEEDS[0], recording.window_s)
        with np.errstate(invalid="ignore"):
            step = np.log(mean_s / played.mean_s)
        # Nearly full, a little less work saves much: small steps, or it swings.
        service = np.minimum(
            service * np.exp(np.clip(0.6 * np.nan_to_num(step), -0.3, 0.3)), mean_s
        )
    return case


def _features(recording: Recording) -> Floats:
    """What is compared, as logarithms."""
    ended = recording.ended
    load = ended.sum(1)
    terciles = np.array_split(np.argsort(load, kind="stable"), 3)
    parts = [_weighted(recording.latency_s[rows], recording.succeeded[rows]) for rows in terciles]
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(recording.latency_p99_s)
        known = np.isfinite(logs)
        tail = np.where(known, logs, 0.0).sum(axis=0) / known.sum(axis=0)  # NaN: none is known
        return np.concatenate(
            [
                np.log(recording.mean_s),
                tail,
                np.log(np.array(parts)),
                np.log(ended.sum(0) / ended.sum()),
            ]
        )


def _weighted(values: Floats, weights: Floats) -> float:
    known = np.isfinite(values) & np.isfinite(weights)
    return float((values[known] * weights[known]).sum() / max(weights[known].sum(), 1.0))


def _distance(wanted: Floats, case: Case, window_s: float) -> float:
    gaps = [_features(Recording.of(case, seed, window_s)) - wanted for seed in SEEDS]
    gap = np.mean(gaps, axis=0)
    return float(np.sqrt(np.nanmean(gap**2)))


def _numbers(recording: Recording) -> dict[str, float]:
    numbers = {"mean_s": _weighted(recording.latency_s, recording.succeeded)}
    if np.isfinite(recording.latency_p99_s).any():
        numbers["p99_s"] = _weighted(recording.latency_p99_s, recording.succeeded)
    return numbers
