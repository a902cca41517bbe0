"""One control loop over a simulated service in several regions, each with weights of its own.

As serving would have it: each region's endpoints are a service of their own (`NAME@REGION`) with an
estimate, groups and a guard; between regions the proxies of each send by shares of their own.
What a region's endpoints do is seen without the way there, which is measured on the side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.model import Grouping, Observation, Service, ServiceName
from controlplane.model.observation import Floats
from controlplane.model.regions import Ways
from policies.env.stages import Stages
from policies.simulator import Case, Outcome, Simulation, Telemetry, station_of

INTERVAL_S = 1.0
TRAFFIC_FADES_S = 5.0
"""Over how long requests are counted by the place where they come in."""
FLOOR_S = 1e-4
"""What is left of a latency without its way is at least this."""


@dataclass(slots=True)
class _Region:
    """A region's endpoints as a service of their own."""

    service: Service
    belief: Any = None
    memory: Any = None


class Regional:
    """Plays a case with closed-loop weights for the proxies of each region."""

    def __init__(self, stages: Stages, case: Case, seed: int, policy: str = "model") -> None:
        self._decide, self._guard = stages.decide, stages.guard
        self._decider = stages.decide.Decider(stages.decide.Policies.installed())
        self._policy = policy
        self.now_s = 0.0
        self.run = Simulation(case, seed)
        self._noise = np.random.Generator(np.random.PCG64([seed, 77]))
        self._regions = [_Region(self._declared(j)) for j in range(len(case.regions))]
        self._whole = _Region(case.service(policy="equal"))
        self.ways = Ways.unknown(len(case.regions))
        self.shares: Floats | None = None
        """(regions, regions) which part of its requests each sends where, as decided last."""
        self._traffic = np.zeros(len(case.regions))
        self._pending: tuple[Grouping, Floats] | None = None

    def play(self) -> Outcome:
        """To the end; what all requests got."""
        while self.now_s < self.run.case.duration_s - 1e-9:
            self.tick()
        self.run.drain()
        return self.run.outcome()

    def tick(self) -> None:
        """One interval: play, look, decide; what is decided is in force after the case's delay."""
        if self._pending is not None:
            self.run.advance(self.now_s + self.run.case.delay_s)
            self.run.split(*self._pending)
        self.now_s += INTERVAL_S
        self.run.advance(self.now_s)
        looks = self.run.telemetry_by_region()
        home = self._home(looks[0])
        self._measure(looks, home)
        whole = self._without_the_way(looks, home)
        verdicts = self._decided(whole)
        self._between(whole, verdicts)
        self._pending = self._split(verdicts)

    def _between(self, look: Observation, verdicts: list[Any]) -> None:
        """Which part of its requests each region sends where."""
        region = self._whole
        service = self.run.case.service(self.now_s, policy="equal")
        if service.endpoints != region.service.endpoints:
            region.service = service
        asked = self._decide.Asked(region.service, look, region.belief)
        (decided,) = self._decider.decide([asked], self.now_s, _by_size)
        region.belief = decided.memory
        grouping, zone = self._grouping(verdicts)
        shares = grouping.sizes / grouping.sizes.sum()
        whole = replace(decided.situation, grouping=_aligned(grouping, look), shares=shares)
        between = self._decide.between(whole, zone, self._traffic, self.ways.seconds, self.shares)
        if between is not None:
            self.shares = between

    def _declared(self, region: int) -> Service:
        case = self.run.case
        whole = case.service(self.now_s, policy=self._policy)
        name = case.regions[region]
        here = tuple(one for one in whole.endpoints if one.where.region == name)
        return replace(whole, name=ServiceName(f"{whole.name}@{name}"), endpoints=here)

    def _home(self, look: Telemetry) -> NDArray[np.intp]:
        """(n,) the region of each endpoint."""
        stations = self.run.case.stations
        return np.array([stations[station_of(one)].region for one in look.endpoints], np.intp)

    def _measure(self, looks: tuple[Telemetry, ...], home: NDArray[np.intp]) -> None:
        latency = np.stack([look.latency_s for look in looks])
        samples = np.stack([look.latency_samples for look in looks])
        self.ways = self.ways.fold(latency, samples, home, INTERVAL_S)
        ended = np.array([(look.succeeded + look.failed).sum() for look in looks])
        self._traffic = np.exp(-INTERVAL_S / TRAFFIC_FADES_S) * self._traffic + ended

    def _decided(self, whole: Observation) -> list[Any]:
        """The guard's verdict for each region's endpoints."""
        asked = []
        for j, region in enumerate(self._regions):
            declared = self._declared(j)
            if declared.endpoints != region.service.endpoints:
                region.service = declared
            look = replace(whole, service=region.service.name)
            look = look.for_endpoints(tuple(one.id for one in region.service.endpoints))
            asked.append(self._decide.Asked(region.service, look, region.belief))
        decided = self._decider.decide(asked, self.now_s, self._in_force)
        verdicts = []
        for region, decision in zip(self._regions, decided, strict=True):
            region.belief = decision.memory
            verdict, region.memory = self._guard.check(
                decision.situation, decision.proposal, region.memory, self.now_s
            )
            verdicts.append(verdict)
        return verdicts

    def _without_the_way(self, looks: tuple[Telemetry, ...], home: NDArray[np.intp]) -> Observation:
        """All looks in one, as if every proxy stood beside the endpoints."""
        way = self.ways.seconds[:, home]
        ended = np.stack([look.succeeded + look.failed for look in looks])
        samples = np.stack([look.latency_samples for look in looks])
        latency = np.stack([look.latency_s for look in looks]) - way
        in_flight = np.stack([look.in_flight for look in looks])
        in_flight = np.maximum(in_flight - ended / looks[0].window_s * way, 0.0)
        p99 = np.stack([look.latency_p99_s for look in looks]) - way
        case = self.run.case
        noise = None
        if case.orca:
            noise = 1.0 + case.telemetry_noise * self._noise.standard_normal(len(home))
        merged = replace(
            looks[0],
            succeeded=np.sum([look.succeeded for look in looks], axis=0),
            failed=np.sum([look.failed for look in looks], axis=0),
            in_flight=in_flight.sum(axis=0),
            latency_s=_mean(latency, samples),
            latency_p99_s=_mean(p99, samples),
            latency_samples=samples.sum(axis=0),
            proxies=sum(look.proxies for look in looks),
            workers=sum(look.workers for look in looks),
        )
        return merged.observation(ServiceName("simulated/whole"), utilisation_noise=noise)

    def _in_force(self, service: Service, grouping: Grouping) -> Floats:
        memory = next(r.memory for r in self._regions if r.service.name == service.name)
        shares: Floats = self._guard.shares_in_force(service, memory, grouping, self.now_s)
        return shares

    def _split(self, verdicts: list[Any]) -> tuple[Grouping, Floats]:
        """All regions' groups in one grouping, and (regions, groups) shares."""
        grouping, zone = self._grouping(verdicts)
        between = self.shares
        if between is None:  # before anything is known: all alike to all, by their endpoints
            sizes = np.bincount(zone, weights=grouping.sizes).astype(np.float64)
            between = np.tile(sizes / sizes.sum(), (len(sizes), 1))
        weights = [np.array(verdict.weights.by_group, np.float64) for verdict in verdicts]
        inside = np.concatenate([row / row.sum() for row in weights])
        return grouping, between[:, zone] * inside

    def _grouping(self, verdicts: list[Any]) -> tuple[Grouping, NDArray[np.intp]]:
        """The groups of all regions, and (groups,) the region of each."""
        names: list[str] = []
        index: list[NDArray[np.intp]] = []
        for region, verdict in zip(self.run.case.regions, verdicts, strict=True):
            index.append(verdict.grouping.index + len(names))
            names += [f"{region}/{name}" for name in verdict.grouping.names]
        counts = [len(verdict.grouping.names) for verdict in verdicts]
        endpoints = tuple(one for verdict in verdicts for one in verdict.grouping.endpoints)
        zone = np.repeat(np.arange(len(counts)), counts)
        return Grouping(endpoints, tuple(names), np.concatenate(index)), zone


def _by_size(service: Service, grouping: Grouping) -> Floats:
    """Shares in force of a service that is only believed about."""
    return np.asarray(grouping.sizes / grouping.sizes.sum(), np.float64)


def _aligned(grouping: Grouping, look: Observation) -> Grouping:
    """The same with the endpoints in the order of a look."""
    at = {endpoint: i for i, endpoint in enumerate(grouping.endpoints)}
    order = [at[endpoint] for endpoint in look.endpoints]
    return replace(grouping, endpoints=look.endpoints, index=grouping.index[order])


def _mean(values: Floats, weights: Floats) -> Floats:
    """(n,) over the regions that saw something; NaN where none did."""
    known = np.isfinite(values) & (weights > 0.0)
    with np.errstate(all="ignore"):
        mean = np.where(known, values * weights, 0.0).sum(axis=0) / np.where(
            known, weights, 0.0
        ).sum(axis=0)
    return np.asarray(np.maximum(mean, FLOOR_S), np.float64)
