"""Pushes in stages: what people change goes to some Envoys of a fleet first, then to the rest.

A sink in front of the cache. Weights (endpoint assignments) and runtime layers go to all Envoys at
once, as they always did; everything else that changes (clusters, listeners, routes, secrets) is
shown to a share of the fleet's Envoys. When all of them took it, and the verdict on their health
was good for long enough, the next share follows, and at last all. A refusal, silence, or a bad
verdict takes it back from those that had it, and the same content is not tried again: the fleet
stays as it was until the documents differ.

A change that comes while another is on its way replaces it, and begins with the first share again.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from controlplane.errors import WeirError
from controlplane.model import Health, Snapshot
from controlplane.ports import HealthVerdict
from controlplane.xds.cache import ByPlace, SnapshotCache
from controlplane.xds.kinds import ENDPOINT, RUNTIME
from controlplane.xds.staging import place
from controlplane.xds.status import Client

logger = structlog.get_logger(__name__)

MAY_GO = 0.1
"""This part of a stage's Envoys may be gone at its end: fleets shrink, too."""
UNTOLD = "nobody could tell how its Envoys stand"

Resources = Mapping[str, Mapping[str, bytes]]

AT_ONCE = (ENDPOINT, RUNTIME)
"""Types that are never staged."""


class Outcome(StrEnum):
    """How a staged push ended."""

    DONE = "done"
    REFUSED = "refused"
    SILENT = "silent"
    UNHEALTHY = "unhealthy"
    NO_VERDICT = "no_verdict"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Plan:
    """How far, how long, how often."""

    shares: tuple[float, ...] = (0.1, 0.5)
    """Growing, each above 0 and below 1. All follow after the last."""
    ack_s: float = 30.0
    """Within this every Envoy of the share must have taken everything. Longer than the 15 s that
    Envoy waits for the endpoints of a new cluster."""
    bake_s: float = 10.0
    """A share is watched for this long after that."""
    look_s: float = 1.0
    """Between two looks while it bakes, and the deadline of one."""
    unknown: int = 4
    """So many looks in a row without a verdict end it."""

    def __post_init__(self) -> None:
        growing = all(a < b for a, b in itertools.pairwise(self.shares))
        if not growing or not all(0.0 < share < 1.0 for share in self.shares):
            raise ValueError(
                f"stages {self.shares}: want growing shares above 0 and below 1, as in 0.1, 0.5"
            )


@dataclass(slots=True)
class _Fleet:
    stable: Snapshot
    """What the fleet runs: as it was before the candidate."""
    newest: Snapshot
    """What was published last."""
    nodes: frozenset[str] = frozenset()
    """Envoys of the stage that were connected when it began."""
    grudges: frozenset[tuple[str, str, str]] = frozenset()
    """(peer, type, version) of what was refused before it began."""
    candidate: Resources | None = None
    """The staged types of the push that is on."""
    failed: Resources | None = None
    """The staged types of the push that was taken back."""
    share: float = 0.0
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class StagedSink:
    """A `SnapshotSink`. `run` owns the pushes that are on; without it nothing is staged."""

    cache: SnapshotCache
    clients: Callable[[str], Awaitable[Sequence[Client]]]
    """The streams of a fleet, as they are now."""
    plan: Plan = field(default_factory=Plan)
    verdict: HealthVerdict | None = None
    """None: that they took it is all that is asked."""
    clock: Callable[[], float] = time.monotonic
    taken_back: Callable[[str, str], None] = lambda fleet, why: None
    """Told of each push that was taken back."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    _fleets: dict[str, _Fleet] = field(default_factory=dict)
    _group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled; pushes that are on end with it, where they are."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def publish(self, snapshot: Snapshot) -> None:
        """Weights at once, the rest in stages; a fleet that had nothing gets all at once."""
        name = snapshot.fleet
        fleet = self._fleets.get(name)
        if fleet is None or self._group is None:
            self._fleets[name] = _Fleet(snapshot, snapshot)
            self.cache.publish(snapshot)
            return
        fleet.newest = snapshot
        wanted = _staged_types(snapshot.resources)
        if wanted == _staged_types(fleet.stable.resources):
            self._give_up(name, fleet)
            fleet.failed = None
            fleet.stable = snapshot
            self.cache.publish(snapshot)
        elif wanted == fleet.candidate or wanted == fleet.failed:
            self._weights(name, fleet)
        else:
            self._give_up(name, fleet)
            fleet.candidate, fleet.failed = wanted, None
            self._weights(name, fleet)
            fleet.task = self._group.create_task(self._push(name, fleet), name=f"staged {name}")

    def share(self, fleet: str) -> float:
        """The share of the fleet that has something that the rest has not; 0: no push is on."""
        known = self._fleets.get(fleet)
        return known.share if known is not None else 0.0

    @property
    def fleets(self) -> tuple[str, ...]:
        """All that were published."""
        return tuple(self._fleets)

    def _weights(self, name: str, fleet: _Fleet) -> None:
        """What is never staged goes to both sides. The old clusters keep their assignments."""
        stable, newest = fleet.stable, fleet.newest.resources
        new = {url: dict(newest[url]) for url in AT_ONCE if url in newest}
        by_place = _old_too(stable.by_place, fleet.newest.by_place, new.get(ENDPOINT, {}))
        if ENDPOINT in stable.resources:
            new[ENDPOINT] = {**stable.resources[ENDPOINT], **new.get(ENDPOINT, {})}
        fleet.stable = Snapshot(name, {**stable.resources, **new}, by_place)
        self.cache.publish(fleet.stable)
        if fleet.candidate is not None and fleet.share > 0.0:
            self.cache.stage(name, {**fleet.candidate, **new}, fleet.share, by_place)

    def _give_up(self, name: str, fleet: _Fleet) -> None:
        """Another change has come: the push that was on is over."""
        if fleet.task is not None:
            fleet.task.cancel()
            fleet.task = None
            self.outcomes[Outcome.REPLACED] += 1
        fleet.candidate, fleet.share = None, 0.0
        self.cache.end_stage(name)

    async def _push(self, name: str, fleet: _Fleet) -> None:
        outcome, why = Outcome.DONE, ""
        for share in self.plan.shares:
            outcome, why = await self._stage(name, fleet, share)
            if outcome is not Outcome.DONE:
                break
        self.outcomes[outcome] += 1
        at_share, fleet.task = fleet.share, None
        candidate, fleet.candidate, fleet.share = fleet.candidate, None, 0.0
        if outcome is Outcome.DONE:
            fleet.stable = fleet.newest
            self.cache.publish(fleet.newest)
            self.cache.end_stage(name)
            logger.info("pushed to all in stages", fleet=name)
        else:
            fleet.failed = candidate
            self.cache.end_stage(name)
            logger.error(
                "a staged push was taken back; the fleet stays as it was",
                fleet=name,
                share=at_share,
                outcome=outcome.value,
                why=why,
            )
            self.taken_back(name, why or outcome.value)

    async def _stage(self, name: str, fleet: _Fleet, share: float) -> tuple[Outcome, str]:
        """Show it to so many, and see what comes of it."""
        try:
            async with asyncio.timeout(self.plan.ack_s):
                while (clients := await self._clients(name)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(self.plan.look_s)
        except TimeoutError:
            return Outcome.NO_VERDICT, f"{UNTOLD} within {self.plan.ack_s:g} s"
        fleet.grudges = frozenset(_refusals(clients))
        fleet.share = max(fleet.share, _at_least_one(clients, share))
        self._weights(name, fleet)
        fleet.nodes = frozenset(client.node.id for client in self._covered(name, clients))
        return await self._judge(name, fleet)

    async def _clients(self, name: str) -> Sequence[Client] | None:
        """The streams of the fleet; None: nobody can tell at the moment."""
        try:
            return await self.clients(name)
        except WeirError as error:
            logger.warning("nobody can tell how a fleet stands", fleet=name, why=str(error))
            return None

    async def _judge(self, name: str, fleet: _Fleet) -> tuple[Outcome, str]:
        """Whether the Envoys of the stage took it all, and stayed well."""
        outcome, why = await self._taken(name, fleet)
        if outcome is Outcome.DONE:
            outcome, why = await self._bake(name, fleet)
        # Who was away for a moment, as when his connection was renewed, may come back.
        return await self._taken(name, fleet) if outcome is Outcome.DONE else (outcome, why)

    async def _taken(self, name: str, fleet: _Fleet) -> tuple[Outcome, str]:
        """Wait until the Envoys of the stage took it all."""
        end_s = self.clock() + self.plan.ack_s
        while True:
            refused, behind = await self._standing(name, fleet)
            if refused:
                return Outcome.REFUSED, refused
            if not behind:
                return Outcome.DONE, ""
            if self.clock() >= end_s:
                return Outcome.SILENT, f"{behind} within {self.plan.ack_s:g} s"
            await asyncio.sleep(min(0.05, self.plan.look_s))

    async def _bake(self, name: str, fleet: _Fleet) -> tuple[Outcome, str]:
        since_s, unknown = self.clock(), 0
        while self.clock() < since_s + self.plan.bake_s:
            health = await self._look(name, fleet, since_s)
            unknown = unknown + 1 if health is Health.UNKNOWN else 0
            if health is Health.BAD:
                return Outcome.UNHEALTHY, "the verdict on the Envoys that had it was bad"
            if unknown >= self.plan.unknown:
                return Outcome.NO_VERDICT, f"{unknown} looks in a row gave no verdict"
            await asyncio.sleep(self.plan.look_s)
            refused, _ = await self._standing(name, fleet)
            if refused:
                return Outcome.REFUSED, refused
        return Outcome.DONE, ""

    async def _look(self, name: str, fleet: _Fleet, since_s: float) -> Health:
        if self.verdict is None:
            return Health.GOOD
        clients = await self._clients(name) or ()
        here = {client.node.id for client in self._covered(name, clients)}
        nodes = sorted(fleet.nodes | here)
        try:
            async with asyncio.timeout(self.plan.look_s):
                return await self.verdict(name, nodes, since_s)
        except Exception as error:  # noqa: BLE001 - whoever judges is not ours; it has no verdict
            logger.warning("no verdict on a staged push", fleet=name, why=repr(error))
            return Health.UNKNOWN

    def _covered(self, name: str, clients: Sequence[Client]) -> list[Client]:
        stage = self.cache.staged(name)
        if stage is None:
            return []
        return [one for one in clients if one.node.id and stage.covers(one.node.id)]

    async def _standing(self, name: str, fleet: _Fleet) -> tuple[str, str]:
        """(who refused it and why, who has not taken it yet) among the Envoys of the stage."""
        clients = await self._clients(name)
        if clients is None:
            return "", UNTOLD
        covered, stage = self._covered(name, clients), self.cache.staged(name)
        gone = fleet.nodes - {client.node.id for client in covered}
        if len(gone) > MAY_GO * len(fleet.nodes):
            return "", f"{len(gone)} of its {len(fleet.nodes)} Envoys went, {min(gone)} among them"
        if stage is None or not covered:
            return "", ""  # nobody was connected, so there is nobody to ask
        new = [text for key, text in _refusals(covered).items() if key not in fleet.grudges]
        if new:
            return f"refused by {new[0]}", ""
        for client in covered:
            for one in client.types:
                target = stage.view.get(one.type_url)
                if one.type_url in AT_ONCE or target is None:
                    continue
                if one.acked_version != target.version or one.waiting or one.held:
                    return "", f"{client.node.id} did not take it"
        return "", ""


def _old_too(old: ByPlace, new: ByPlace, known: Container[str]) -> ByPlace:
    """What is told by place, with what was told of assignments that are known no more."""
    found = {where: dict(bodies) for where, bodies in new.items()}
    for where, bodies in old.items():
        gone = {name: body for name, body in bodies.items() if name not in known}
        if gone:
            found[where] = {**gone, **found.get(where, {})}
    return found


def _at_least_one(clients: Sequence[Client], share: float) -> float:
    """The share, or as much as takes in one Envoy that is connected."""
    first = min((place(client.node.id) for client in clients), default=0.0)
    return max(share, math.nextafter(first, 1.0))


def _staged_types(resources: Resources) -> Resources:
    return {url: bodies for url, bodies in resources.items() if url not in AT_ONCE}


def _refusals(clients: Sequence[Client]) -> dict[tuple[str, str, str], str]:
    """(peer, type, version) -> node and message of what these clients refuse."""
    return {
        (client.peer, one.type_url, one.sent_version): f"{client.node.id}: {one.nack}"
        for client in clients
        for one in client.types
        if one.nack and one.type_url not in AT_ONCE
    }
