"""The control loop. Read this file first: every other module is one of its lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import structlog
from opentelemetry.trace import NoOpTracer, Tracer

from controlplane import decide, guard
from controlplane.decide import Asked, Decided, Decider, Places
from controlplane.decide import Memory as Belief
from controlplane.decide.least_time import Regional
from controlplane.errors import MetricsUnavailableError, StoreError
from controlplane.following import Following
from controlplane.model import (
    Grouping,
    Handover,
    LastGood,
    Observation,
    Order,
    Service,
    ServiceName,
    Verdict,
    Zone,
)
from controlplane.model.decisions import Decision
from controlplane.model.observation import Floats
from controlplane.ports import DecisionSink, MetricSource, StateStore
from controlplane.publisher import Publisher
from controlplane.resources import Declared
from controlplane.schedule import Schedule
from controlplane.telemetry.metrics import LoopMetrics
from controlplane.telemetry.throttle import Throttle

logger = structlog.get_logger(__name__)

Frozen = Callable[[ServiceName], str | None]
"""Why a service is held by the kill switch; None: it is not."""
COMPLAIN_S = 30.0
"""How often the log says that there are no numbers."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How the loop paces itself."""

    look_deadline: float = 0.8
    """A look at the metrics may take this part of the shortest interval that is due."""

    save_deadline_s: float = 0.25
    """How long a push waits for the last good state to be saved."""

    idle_s: float = 1.0
    """The longest sleep; a service declared meanwhile wakes the loop itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """All that is known of one service between two ticks."""

    service: Service
    look: Observation
    """The newest that was had, however old."""
    belief: Belief | None = None
    memory: guard.Memory | None = None
    decision: Decided | None = None
    verdict: Verdict | None = None


class Loop:
    """Turns numbers into guarded weights. `run` belongs to one task, `declare` to another.

    Of several replicas one decides. In the others no tick runs: `follow` puts what that one has in
    force in the place of the stages that observe and decide.
    """

    def __init__(
        self,
        *,
        source: MetricSource,
        decider: Decider,
        publisher: Publisher,
        store: StateStore,
        switch: Callable[[], Frozen],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        metrics: LoopMetrics,
        tracer: Tracer | None = None,
        resumed: Mapping[ServiceName, LastGood] | None = None,
        settings: LoopSettings | None = None,
        decides: Callable[[], bool] = lambda: True,
        settled: Callable[[Collection[ServiceName]], None] = lambda names: None,
        log: DecisionSink | None = None,
    ) -> None:
        """`decides`: whether this replica does. `settled` is told of the services that have
        something else in force than before. `log` takes what ticks decide, to learn from."""
        self._source = source
        self._decider = decider
        self._publisher = publisher
        self._store = store
        self._switch = switch
        self._complaints = Throttle(most=1, window_s=COMPLAIN_S)
        self._clock = clock
        self._wall_clock = wall_clock
        self._metrics = metrics
        self._tracer = tracer or NoOpTracer()
        self._resumed = dict(resumed or {})
        self._settings = settings or LoopSettings()
        self._declared = Declared()
        self._known: dict[ServiceName, Known] = {}
        self._places = Places(
            guard.check_zones, {name: last.places for name, last in self._resumed.items()}
        )
        self._decides = decides
        self._leads = True
        """Whether it did when that was looked at last."""
        self._settled = settled
        self._decisions = log
        self._following = Following(clock)
        self._schedule = Schedule()
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Tick for ever. An error that no stage expects ends the loop, and with it the process."""
        while True:
            await asyncio.sleep(self._schedule.wait_s(self._clock(), self._settings.idle_s))
            missed = self._schedule.missed
            due = self._schedule.take(self._clock())
            self._metrics.missed.inc(self._schedule.missed - missed)
            self._begin_or_end()
            if due and self._leads:
                await self.tick(due)

    def _begin_or_end(self) -> None:
        """Whoever begins to decide has had no numbers yet: how old they are counts from now on."""
        before, self._leads = self._leads, self._decides()
        if self._leads and not before:
            self._following.forget()
            now_s = self._clock()
            for name, known in self._known.items():
                if known.memory is not None:
                    self._known[name] = replace(known, memory=guard.begun(known.memory, now_s))

    async def tick(self, due: Sequence[ServiceName]) -> None:
        """Observe, decide, guard, remember, publish: for the services that are due."""
        with self._tracer.start_as_current_span("tick", attributes={"services": len(due)}):
            looks = await self._observe([self._known[name].service for name in due])
            async with self._turn:
                decisions = self._decide(due, looks)
                verdicts = self._guard(decisions)
                self._log(decisions, verdicts)
                moved = self._order_places()
                await self._remember(verdicts, moved)
                self._publish(verdicts, moved)

    async def follow(self, handed: Sequence[Handover], *, whole: bool = False) -> None:
        """Another replica decides: have in force here what it has. `whole`: it has no others."""
        self._following.hear(handed, whole=whole)
        async with self._turn:
            if self._decides() or not self._known:
                return
            services = {name: known.service for name, known in self._known.items()}
            verdicts = self._guard(self._take_over(self._following.ready(services)))
            moved = self._order_places()
            await self._remember(verdicts, moved)
            self._publish(verdicts, moved)

    def hold(self) -> None:
        """Whoever decides is not heard: what is in force stays."""
        self._following.hold()

    async def declare(self, declared: Declared, services: Iterable[Service]) -> None:
        """These are the services from now on. What is new or differs gets a verdict at once."""
        wanted = {service.name: service for service in services}
        if not self._decides():
            await self._following.wait([one for one in wanted.values() if self._has_others(one)])
        async with self._turn:
            self._declared = declared
            gone = self._known.keys() - wanted.keys()
            for name in gone:
                self._schedule.drop(name)
                del self._known[name]
            changed = [name for name, service in wanted.items() if self._differs(name, service)]
            for name in changed:
                self._adopt(wanted[name])
            verdicts = self._guard(self._proposed(changed))
            moved = self._order_places()
            await self._remember(verdicts, moved)
            self._publish(verdicts, moved, renewed=bool(changed or gone))
            self._metrics.services.set(len(self._known))

    async def _observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        """One look at all that are due. It may be empty: the guard has a ladder for that."""
        shortest_s = min(service.interval_s for service in services)
        with self._stage("observe"):
            try:
                async with asyncio.timeout(self._settings.look_deadline * shortest_s):
                    return await self._source.observe(services)
            except TimeoutError:
                self._metrics.source_failures.labels("deadline").inc()
            except MetricsUnavailableError as error:
                self._metrics.source_failures.labels(error.kind).inc()
                left_out = self._complaints.admit("no numbers", self._clock())
                if left_out is not None:
                    words = "no numbers, weights are held"
                    logger.warning(words, why=str(error), not_shown_before=left_out)
        return {}

    def _decide(
        self, names: Sequence[ServiceName], looks: Mapping[ServiceName, Observation]
    ) -> list[Decided]:
        """What the policies would like, in one batch for each policy."""
        now_s, asked = self._clock(), []
        with self._stage("decide"):
            for name in names:
                if name not in self._known:
                    continue  # taken out of the documents while we looked
                known = self._known[name]
                look = looks.get(name, known.look)
                if look.endpoints != known.look.endpoints:
                    look = known.look  # its endpoints changed while we looked
                self._known[name] = replace(known, look=look)
                asked.append(Asked(known.service, look, known.belief))
            decisions = self._decider.decide(asked, now_s, self._in_force)
        for decision in decisions:
            self._metrics.decided.labels(decision.proposal.policy).inc()
        return list(decisions)

    def _proposed(self, names: Sequence[ServiceName]) -> list[Decided]:
        """The same between ticks, when services change."""
        if self._decides():
            return self._decide(names, {})
        told = [name for name in names if self._following.of(name) is not None]
        others = [name for name in names if self._following.of(name) is None]
        return self._take_over(told) + self._decide(others, {})

    def _take_over(self, names: Sequence[ServiceName]) -> list[Decided]:
        """What the replica that decides has in force, in the place of a decision of ours."""
        now_s, found = self._clock(), []
        for name in names:
            known, one = self._known[name], self._following.of(name)
            assert one is not None, "heard of before"
            memory = guard.handed(one, known.memory, now_s)
            self._known[name] = replace(known, memory=memory)
            found.append(decide.handed(known.service, one, known.look))
        clusters = {self._known[name].service.cluster for name in names}
        placed = [n for n, known in self._known.items() if known.service.cluster in clusters]
        handed = [one for name in placed if (one := self._following.of(name)) is not None]
        self._places.take_over({one.service: one.last.places for one in handed if one.last.places})
        return found

    def _in_force(self, service: Service, grouping: Grouping) -> Floats:
        memory = self._known[service.name].memory
        return guard.shares_in_force(service, memory, grouping, self._clock())

    def _guard(self, decisions: Iterable[Decided]) -> list[Verdict]:
        """What may be sent of it."""
        now_s, frozen, verdicts = self._clock(), self._switch(), []
        with self._stage("guard"):
            for decision in decisions:
                name = decision.situation.service.name
                known = self._known[name]
                verdict, memory = guard.check(
                    decision.situation,
                    decision.proposal,
                    known.memory,
                    now_s,
                    frozen=frozen(name),
                )
                verdict = replace(verdict, reasons=decision.reasons + verdict.reasons)
                self._known[name] = replace(
                    known, belief=decision.memory, memory=memory, decision=decision, verdict=verdict
                )
                verdicts.append(verdict)
                for reason in verdict.reasons if self._decides() else ():  # each counts once
                    self._metrics.reasons.labels(reason.code).inc()
        return verdicts

    def _log(self, decisions: Iterable[Decided], verdicts: Iterable[Verdict]) -> None:
        """What was decided, by what was seen, and what is in force of it."""
        if self._decisions is None:
            return
        at, now_s = self._wall_clock(), self._clock()
        self._decisions.put(
            [
                Decision(at, now_s, one.situation, one.proposal, one.explored, verdict)
                for one, verdict in zip(decisions, verdicts, strict=True)
            ]
        )

    async def _remember(self, verdicts: Iterable[Verdict], moved: Collection[ServiceName]) -> None:
        """Save before sending, so that the first push after a crash equals the last before it.

        `moved`: clusters whose Envoys are told of the zones in another order than before."""
        changed = {verdict.service.name: verdict for verdict in verdicts if verdict.changed}
        for name, known in self._known.items() if moved else ():
            if known.verdict is not None and known.service.cluster in moved:
                changed[name] = known.verdict
        if not changed:
            return
        at = self._wall_clock()
        with self._stage("remember"):
            last = [
                LastGood.of(v, self._policy_of(name), at, self._places.served(v.service))
                for name, v in changed.items()
            ]
            try:
                async with asyncio.timeout(self._settings.save_deadline_s):
                    await self._store.save(last)
            except (TimeoutError, StoreError) as error:
                self._metrics.store_failures.inc()
                logger.warning("the last good state was not saved", why=str(error) or "too slow")

    def _publish(
        self,
        verdicts: Iterable[Verdict],
        moved: Collection[ServiceName],
        *,
        renewed: bool = False,
    ) -> None:
        """Send what changed. A snapshot is complete: it has the verdict of every service.

        `moved`: clusters whose places are in another order. `renewed`: services differ, of which
        no verdict tells: in endpoints that drain perhaps.
        """
        changed = {verdict.service.name for verdict in verdicts if verdict.changed}
        with self._stage("publish"):
            services = [known.service for known in self._known.values()]
            orders, news = self._places.orders, renewed or bool(changed or moved)
            self._publisher.publish(self._declared, services, self.verdicts(), orders, news)
        self._metrics.changed.inc(len(changed))
        if changed or moved:
            self._settled(changed | {one.name for one in services if one.cluster in moved})

    def _order_places(self) -> frozenset[ServiceName]:
        """The clusters of which the Envoys of some place are told in another order than before."""
        services = [known.service for known in self._known.values()]
        near = [one for one in services if one.part is not None and one.part.near is not None]
        looks = {one.name: self._known[one.name].look for one in near}
        frozen = self._switch() if near else None
        held = {one.name for one in near if one.guard.frozen or (frozen and frozen(one.name))}
        return self._places.settle(near, looks, held, self._clock())

    def regional(self, cluster: ServiceName) -> Regional | None:
        """What is known of a Backend whose requests go where they take least time."""
        return self._places.known(cluster)

    def orders(self, cluster: ServiceName) -> Mapping[Zone, Order]:
        """Of a Backend that tells places apart: what the Envoys of each are told."""
        return self._places.orders.get(cluster, {})

    def handover(self, name: ServiceName) -> Handover | None:
        """How a service stands, for a replica that may have to go on; None where nothing is known
        of it yet."""
        known = self._known.get(name)
        if known is None or known.verdict is None or known.memory is None or known.belief is None:
            return None
        memory, belief = known.memory, known.belief
        since_s, endpoints = memory.first_seen_s, memory.grouping.endpoints
        grouped = belief.grouped
        return Handover(
            LastGood(
                name,
                memory.grouping,
                memory.shares,
                memory.weights,
                self._policy_of(name),
                self._wall_clock(),
                self._places.served(known.service),
            ),
            since_s if since_s is not None else np.full(len(endpoints), -np.inf),
            memory.pushed_s,
            memory.regrouped_s,
            belief.estimate,
            grouped.grouping if grouped is not None else memory.grouping,
            grouped.since_s if grouped is not None else -np.inf,
            grouped is None or grouped.one,
            known.verdict.reasons,
        )

    def known(self, name: ServiceName) -> Known | None:
        """What is known of a service, for whoever asks why."""
        return self._known.get(name)

    def names(self) -> list[ServiceName]:
        """The services that are balanced, in order."""
        return sorted(self._known)

    def verdicts(self) -> dict[ServiceName, Verdict]:
        """The verdict in force for every service."""
        return {n: known.verdict for n, known in self._known.items() if known.verdict is not None}

    def _differs(self, name: ServiceName, service: Service) -> bool:
        known = self._known.get(name)
        return known is None or (known.service is not service and known.service != service)

    def _has_others(self, service: Service) -> bool:
        """Whether it has other endpoints than before."""
        known = self._known.get(service.name)
        return known is None or known.service.endpoints != service.endpoints

    def _adopt(self, service: Service) -> None:
        """Take in a service that is new, or differs from what was declared before."""
        now_s = self._clock()
        endpoints = tuple(endpoint.id for endpoint in service.endpoints)
        known = self._known.get(service.name)
        if known is None:
            last = self._resumed.pop(service.name, None)
            memory = guard.resumed(last, now_s) if last is not None else None
            known = Known(service, Observation.unknown(service.name, endpoints), memory=memory)
        elif known.look.endpoints != endpoints:
            known = replace(known, look=known.look.for_endpoints(endpoints))
        self._known[service.name] = replace(known, service=service)
        self._schedule.keep(service.name, service.interval_s, now_s)

    def _policy_of(self, name: ServiceName) -> str:
        decision = self._known[name].decision
        return decision.proposal.policy if decision is not None else ""

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        with (
            self._metrics.stage_seconds.labels(name).time(),
            self._tracer.start_as_current_span(name),
        ):
            yield
