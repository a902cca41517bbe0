"""One control loop over a simulated service in several regions, each with weights of its own.

What serving does with `locality.zoneAware.leastTime`: each region's endpoints are a part of the
service with an estimate, groups and a guard of its own, and `Places` says which part of its
requests each region's proxies send to which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.model import (
    Endpoint,
    Grouping,
    Near,
    Observation,
    Part,
    Service,
    ServiceName,
    Zone,
)
from controlplane.model.observation import Floats
from controlplane.model.residual import corrected
from policies.env.goals import Felt
from policies.env.stages import Stages
from policies.simulator import Case, Outcome, Simulation, Telemetry

INTERVAL_S = 1.0
SLACK = 140
"""In percent: what a region takes beyond its part of the capacity while nothing is known."""
NEXT_TO_NOTHING = 1e-4
"""The simulator takes no shares of 0."""


@dataclass(slots=True)
class _Region:
    """A region's endpoints as a part of the service."""

    service: Service
    belief: Any = None
    memory: Any = None


class Regional:
    """Plays a case with closed-loop weights for the proxies of each region.

    `tick` is a `look` and an `act`; between the two a learner may correct the split.
    """

    def __init__(
        self,
        stages: Stages,
        case: Case,
        seed: int,
        policy: str = "model",
        *,
        run: Simulation | None = None,
    ) -> None:
        """`run`: of the case and seed, which others have begun and advance. Then nothing is known
        yet and nothing of this in force, until they `see` and put a `split` there."""
        self._decide, self._guard = stages.decide, stages.guard
        self._decider = stages.decide.Decider(stages.decide.Policies.installed())
        self._places = stages.decide.Places(stages.guard.check_zones)
        self._policy = policy
        self.run = run or Simulation(case, seed)
        self.now_s = self.run.now_s
        self.zones = tuple(Zone(region) for region in case.regions)
        self._noise = np.random.Generator(np.random.PCG64([seed, 77]))
        self._regions = [_Region(self._declared(zone)) for zone in self.zones]
        self._verdicts: list[Any] = []
        self.seen = Observation.unknown(ServiceName("simulated/whole"), ())
        """The last look at the endpoints of all regions, in no order of regions."""
        self._telemetry: Telemetry | None = None
        """By the proxies of one region; of what endpoints did all say the same."""
        self._declare()
        if run is None:
            self.run.split(*self.split())

    @property
    def known(self) -> Any:  # noqa: ANN401 - of the decide stage, reached by entry point
        """What is known of ways, endpoints and shares."""
        return self._places.known(self._regions[0].service.cluster)

    @property
    def together(self) -> bool:
        """Whether the endpoints of all regions are one to the proxies, as it is in force."""
        orders = self._places.orders[self._regions[0].service.cluster]
        return all(part.together for order in orders.values() for part in order.values())

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Of all regions, region after region, as what is `known` has them."""
        return tuple(one for region in self._regions for one in region.service.endpoints)

    @property
    def shares(self) -> Floats:
        """(regions, regions) which part of its requests each sends where, as it is in force."""
        orders = self._places.orders[self._regions[0].service.cluster]
        rows = []
        for zone in self.zones:
            parts = [orders[zone][region.service.name] for region in self._regions]
            rows.append([(one.weight or 1) if one.priority == 0 else 0 for one in parts])
        weights = np.array(rows, np.float64)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)

    def play(self) -> Outcome:
        """To the end; what all requests got."""
        while self.now_s < self.run.case.duration_s - 1e-9:
            self.tick()
        self.run.drain()
        return self.run.outcome()

    def tick(self) -> None:
        """One interval: play, look, decide, and put it in force after the case's delay."""
        self.look()
        self.act()

    def look(self) -> None:
        """Play one interval, and decide; nothing is in force yet."""
        self.run.advance(self.now_s + INTERVAL_S)
        self.see(self.run.telemetry_by_region())

    def see(self, seen: tuple[Telemetry, ...]) -> None:
        """Decide from what the proxies of each region saw in the interval that has passed."""
        self.now_s += INTERVAL_S
        self._telemetry = seen[0]
        self._settle(self._looks(seen))

    def act(self, residual: Floats | None = None) -> Floats:
        """Put in force what was decided, after the case's delay, and return it.

        (regions, regions) logarithms by which `shares` are corrected, row by row. The decision
        itself goes on from its own shares, so that a correction does not build up in it.
        """
        shares = self.shares
        if residual is not None:
            shares = np.stack([corrected(*one) for one in zip(shares, residual, strict=True)])
        self.run.advance(self.now_s + self.run.case.delay_s)
        self.run.split(*self.split(shares))
        return shares

    def felt(self) -> Felt:
        """What the requests of all regions that arrived since the last call get, beside what the
        endpoints did in the interval that has passed."""
        return Felt.of(self.run.case, self.run.outcome_by_class(), self._telemetry)

    def _declare(self) -> None:
        """As serving does when services come: before anything was seen."""
        looks = [
            Observation.unknown(one.service.name, tuple(e.id for e in one.service.endpoints))
            for one in self._regions
        ]
        self._settle(looks)

    def _settle(self, looks: list[Observation]) -> None:
        self._verdicts = self._decided(looks)
        parts = [region.service for region in self._regions]
        self._places.settle(parts, {look.service: look for look in looks}, now_s=self.now_s)

    def _declared(self, zone: Zone) -> Service:
        whole = self.run.case.service(self.now_s, policy=self._policy)
        here = tuple(one for one in whole.endpoints if one.where == zone)
        part = Part(0, 1, SLACK, zone, Near(least_time=True))
        name = ServiceName(f"{whole.name}@{zone}")
        return replace(whole, name=name, endpoints=here, part=part)

    def _looks(self, seen: tuple[Telemetry, ...]) -> list[Observation]:
        """At each region's endpoints, by the proxies of all."""
        whole = self.seen = self._whole(seen)
        looks = []
        for region, zone in zip(self._regions, self.zones, strict=True):
            declared = self._declared(zone)
            if declared.endpoints != region.service.endpoints:
                region.service = declared
            look = whole.for_endpoints(tuple(one.id for one in region.service.endpoints))
            looks.append(replace(look, service=region.service.name))
        return looks

    def _whole(self, seen: tuple[Telemetry, ...]) -> Observation:
        """What the proxies of all regions saw, together."""
        case, first = self.run.case, seen[0]
        samples = np.stack([one.latency_samples for one in seen])
        latency = np.stack([one.latency_s for one in seen])
        p99 = np.stack([one.latency_p99_s for one in seen])
        noise = None
        if case.orca:
            spread = case.telemetry_noise
            noise = 1.0 + spread * self._noise.standard_normal(len(first.endpoints))
        together = replace(
            first,
            succeeded=np.sum([one.succeeded for one in seen], axis=0),
            failed=np.sum([one.failed for one in seen], axis=0),
            in_flight=np.sum([one.in_flight for one in seen], axis=0),
            latency_s=_mean(latency, samples),
            latency_p99_s=_mean(p99, samples),
            latency_samples=samples.sum(axis=0),
            proxies=sum(one.proxies for one in seen),
            workers=sum(one.workers for one in seen),
        )
        look = together.observation(ServiceName("simulated/whole"), utilisation_noise=noise)
        return replace(
            look,
            by_place={
                zone: float((one.succeeded + one.failed).sum())
                for zone, one in zip(self.zones, seen, strict=True)
            },
            latency_by_place={
                zone: np.stack([one.latency_s, one.latency_samples])
                for zone, one in zip(self.zones, seen, strict=True)
            },
        )

    def _decided(self, looks: list[Observation]) -> list[Any]:
        """The guard's verdict for each region's endpoints."""
        asked = [
            self._decide.Asked(region.service, look, region.belief)
            for region, look in zip(self._regions, looks, strict=True)
        ]
        verdicts = []
        decided = self._decider.decide(asked, self.now_s, self._in_force)
        for region, decision in zip(self._regions, decided, strict=True):
            region.belief = decision.memory
            verdict, region.memory = self._guard.check(
                decision.situation, decision.proposal, region.memory, self.now_s
            )
            verdicts.append(verdict)
        return verdicts

    def _in_force(self, service: Service, grouping: Grouping) -> Floats:
        memory = next(r.memory for r in self._regions if r.service.name == service.name)
        shares: Floats = self._guard.shares_in_force(service, memory, grouping, self.now_s)
        return shares

    def split(self, between: Floats | None = None) -> tuple[Grouping, Floats]:
        """All regions' groups in one grouping, and (regions, groups) shares; or one group.

        `between`: (regions, regions) in place of the `shares` that were decided.
        """
        verdicts = self._verdicts
        between = self.shares if between is None else between
        if self.together:
            ids = tuple(one for verdict in verdicts for one in verdict.grouping.endpoints)
            return Grouping(ids, ("all",), np.zeros(len(ids), np.intp)), np.ones(1)
        names: list[str] = []
        index: list[NDArray[np.intp]] = []
        for region, verdict in zip(self.run.case.regions, verdicts, strict=True):
            index.append(verdict.grouping.index + len(names))
            names += [f"{region}/{name}" for name in verdict.grouping.names]
        endpoints = tuple(one for verdict in verdicts for one in verdict.grouping.endpoints)
        region_of = np.repeat(np.arange(len(verdicts)), [len(v.grouping.names) for v in verdicts])
        weights = [np.array(verdict.weights.by_group, np.float64) for verdict in verdicts]
        inside = np.concatenate([row / row.sum() for row in weights])
        shares = np.maximum(between, NEXT_TO_NOTHING)[:, region_of] * inside
        return Grouping(endpoints, tuple(names), np.concatenate(index)), shares


def _mean(values: Floats, weights: Floats) -> Floats:
    """(n,) over the regions that saw something; NaN where none did."""
    known = np.isfinite(values) & (weights > 0.0)
    sums = np.where(known, values * weights, 0.0).sum(axis=0)
    with np.errstate(all="ignore"):
        return np.asarray(sums / np.where(known, weights, 0.0).sum(axis=0), np.float64)
