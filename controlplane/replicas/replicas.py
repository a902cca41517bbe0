"""What a process is among several: it decides, follows, or holds. One task of it, `run`."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Protocol

import structlog

from controlplane.errors import WeirError
from controlplane.model import Handover, Leader, ServiceName
from controlplane.ports import AccessLogSink, LoadReportSink
from controlplane.replicas.follower import Fleets, Follower
from controlplane.replicas.handing import Handing
from controlplane.replicas.leadership import Leadership
from controlplane.replicas.messages import Frozen
from controlplane.replicas.metrics import ReplicaMetrics
from controlplane.replicas.refused import Shared, WithoutSecrets
from controlplane.replicas.roll import Elsewhere, RollCall, Versions
from controlplane.replicas.server import ReplicaServer, Standing
from controlplane.replicas.switches import frozen, joined
from controlplane.store import Switched
from controlplane.xds.tls import Tls

logger = structlog.get_logger(__name__)

LOOK_S = 0.1
"""Between two looks at who decides."""
GATHER_S = 5.0
"""Whoever takes over decides only after this: by then the others follow him and hand on what their
Envoys report. Half of the numbers are none to decide by."""
FIRST_S = 20.0
"""So long a start waits to hear what is in force, longer than a Lease that nobody renews."""
UNKNOWN_S = 3.0
"""And so long to hear who decides. Where that is not to be had (the API server is gone), Envoys are
served what was kept here."""
WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Before a stream is tried again, and again."""
STEADY_S = 10.0
"""A stream that lasted so long was sound: the next try waits no longer than the first."""


class Role(StrEnum):
    """What a replica does."""

    DECIDES = "decides"
    GATHERS = "gathers"
    """It is the one that decides, and waits for the numbers of the others."""
    FOLLOWS = "follows"
    HOLDS = "holds"
    """Nobody that decides can be reached: it serves what it has."""


class InForce(Standing, Protocol):
    """What is in force here; the loop is one."""

    async def follow(self, handed: Sequence[Handover], *, whole: bool = False) -> None:
        """Have this in force: another replica decides. `whole`: there are no other services."""
        ...

    def hold(self) -> None:
        """Whoever decides is not heard any more."""
        ...


class Replicas:
    """This process among the others."""

    def __init__(
        self,
        address: str,
        leadership: Leadership,
        *,
        access_logs: AccessLogSink,
        load_reports: LoadReportSink,
        percent: Callable[[], float],
        told_percent: Callable[[float], None],
        switched: Callable[[], Switched],
        inherit: Callable[[Switched], None],
        fleets: Fleets,
        versions: Versions,
        shared: Shared,
        clock: Callable[[], float],
        chance: random.Random,
        metrics: ReplicaMetrics,
        tls: Tls | None = None,
        name: str = "",
    ) -> None:
        """`percent` is how much of the traffic is logged, `told_percent` how much is to be.
        `switched` is what is frozen here; `inherit` is told what is to be from now on, as it was at
        a replica that is gone. `shared` knows the last valid versions of what is refused;
        without `tls` it is not asked for those of Secrets. The
        sinks are those of this process, for when it decides. Raises `StartupError`."""
        shared = shared if tls is not None else WithoutSecrets(shared)
        self._leadership = leadership
        self._told_percent = told_percent
        self._inherit = inherit
        self._clock = clock
        self._chance = chance
        self._metrics = metrics
        self._roll = RollCall(clock, versions, lambda gone: inherit(joined(gone)))
        self._server = ReplicaServer(
            address,
            leadership,
            self._roll,
            access_logs=access_logs,
            load_reports=load_reports,
            percent=percent,
            switched=lambda: frozen(switched()),
            shared=shared,
            clock=clock,
            metrics=metrics,
            tls=tls,
            identity=name,
        )
        self._follower = Follower(
            leadership.identity,
            self._take,
            fleets,
            switched=lambda: frozen(switched()),
            shared=shared,
            clock=clock,
            files=tls.open() if tls is not None else None,
            name=name,
        )
        self.reports = Handing(access_logs, load_reports, metrics, self._follower)
        """Where what our Envoys report goes."""
        self._loop: InForce | None = None
        self._role = Role.HOLDS
        self._since_s = clock()
        self._why = "it has just started"
        self._settled = asyncio.Event()
        self._informed = asyncio.Event()
        self._started_s = clock()
        self._stopping = False
        self._led = False
        """Whether it ever decided."""
        for role in Role:
            metrics.role.labels(role.value).set_function(functools.partial(self._is, role))

    @property
    def role(self) -> Role:
        """What it does now."""
        lost = self._role in (Role.DECIDES, Role.GATHERS) and not self._leadership.decides
        return Role.HOLDS if lost else self._role

    @property
    def decides(self) -> bool:
        """Whether it does."""
        return self.role is Role.DECIDES

    @property
    def why_not(self) -> str | None:
        """Why it does not decide; None where it does."""
        leader = self._leadership.leader
        match self.role:
            case Role.DECIDES:
                return None
            case Role.GATHERS:
                return "this replica takes over: it waits for the numbers of the others"
            case Role.FOLLOWS if leader is not None:
                return f"another replica decides: {leader.identity}"
            case _:
                return f"no replica that decides is heard: {self._why}"

    def described(self) -> dict[str, object]:
        """For people."""
        leader = self._leadership.leader
        return {
            "identity": self._leadership.identity,
            "role": self.role.value,
            "since_s": round(self._clock() - self._since_s, 1),
            "why": self.why_not or "",
            "leader": leader.identity if leader is not None else "",
            "epoch": self._epoch(leader),
            "followers": self._roll.names if self.role in (Role.DECIDES, Role.GATHERS) else [],
        }

    def elsewhere(self, fleet: str) -> Elsewhere:
        """The Envoys of a fleet that other replicas serve, as far as this one decides."""
        return self._roll.elsewhere(fleet) if self._leadership.decides else Elsewhere()

    @property
    def frozen(self) -> Switched:
        """What people froze at other replicas."""
        if self._leadership.decides:
            return joined(self._roll.frozen())
        return joined(dict([self._follower.frozen]))

    def changed(self, names: Collection[ServiceName]) -> None:
        """These services have something else in force than before."""
        if self._leadership.decides:
            self._server.changed(names)

    async def start(self, loop: InForce) -> None:
        """Listen. Raises `StartupError`."""
        self._loop = self._server.standing = loop
        self._started_s = self._clock()
        await self._server.start()

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._server.port

    async def stop(self) -> None:
        """Say goodbye, and close."""
        self._stopping = True
        await self._follower.leave()
        await self._server.stop()

    async def settled(self) -> None:
        """Until it is known what is in force: somebody told it, we decide, or nobody can tell."""
        if not await self._known(self._settled):
            logger.warning("nobody says what is in force: it is what was kept here", why=self._why)

    async def informed(self) -> None:
        """Until it is known which last valid versions of refused documents the others have: whoever
        decides told, or we decide and they had the time to tell us, or nobody can tell."""
        if not await self._known(self._informed):
            words = "nobody says which last valid versions there are: those that were kept here"
            logger.warning(words, why=self._why)

    async def _known(self, event: asyncio.Event) -> bool:
        """Within the time that a start may wait, all in all; whether it is."""
        try:
            async with asyncio.timeout(self._started_s + FIRST_S - self._clock()):
                await event.wait()
        except TimeoutError:
            event.set()  # nobody waits twice
            return False
        return True

    async def run(self) -> None:
        """For ever."""
        failures = 0
        began_s = self._clock()
        while True:
            leader = self._leadership.leader
            if self._leadership.decides:
                await self._lead()
                failures = 0
            elif self._stopping or leader is None or leader.identity == self._leadership.identity:
                self._hold("nobody decides" if leader is None else "the lease is about to end")
                if self._clock() >= began_s + UNKNOWN_S:
                    self._wait_no_more()
                await asyncio.sleep(LOOK_S)
            elif not leader.address:
                self._hold(f"{leader.identity} does not say where it is reached")
                self._wait_no_more()
                await asyncio.sleep(LOOK_S)
            else:
                tried_s = self._clock()
                await self._follow(leader)
                if self._clock() - tried_s > STEADY_S:
                    failures = 0
                wait_s = WAITS_S[min(failures, len(WAITS_S) - 1)] * self._chance.uniform(0.5, 1.5)
                failures += 1
                await self._while(wait_s, leader)

    async def _lead(self) -> None:
        """As long as we decide. The first of all has nobody to wait for."""
        leader = self._leadership.leader
        since_s = self._clock()
        gathers = self._led or (leader is not None and leader.epoch > 1)
        self._led = True
        self._roll.expect(set(self._follower.followers) - {self._leadership.identity})
        self._inherit(joined(dict([self._follower.frozen])))
        self._follower.frozen = ("", Frozen())
        self._become(Role.GATHERS if gathers else Role.DECIDES)
        self._settled.set()
        if not gathers:
            self._informed.set()
        while self._leadership.decides:
            await asyncio.sleep(LOOK_S)
            if self._role is Role.GATHERS and self._clock() >= since_s + GATHER_S:
                self._become(Role.DECIDES)
                self._informed.set()
        self._roll.clear()
        self._hold("it decides no more")

    async def _follow(self, leader: Leader) -> None:
        """Until the stream ends, or somebody else decides."""
        following = asyncio.create_task(self._follower.follow(leader))
        try:
            while not following.done():
                await asyncio.wait({following}, timeout=LOOK_S)
                now = self._leadership.leader
                if now is not None:
                    self._follower.know(now.epoch)
                if self._leadership.decides or (now is not None and now != leader):
                    break
                if self._follower.live and self._role is not Role.FOLLOWS:
                    self._become(Role.FOLLOWS)
            if following.done():
                following.result()
        except WeirError as error:
            self._metrics.ended.labels("lost").inc()
            self._hold(str(error))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        if self._role is Role.FOLLOWS:
            self._hold(f"{leader.identity} decides no more")

    async def _while(self, seconds: float, leader: Leader) -> None:
        """Wait, unless somebody else decides by then."""
        for _ in range(max(1, round(seconds / LOOK_S))):
            if self._leadership.leader != leader:
                return
            await asyncio.sleep(LOOK_S)

    async def _take(self, handed: Sequence[Handover], percent: float, *, whole: bool) -> None:
        assert self._loop is not None, "started before"
        if self._leadership.decides:
            return
        self._told_percent(percent)
        await self._loop.follow(handed, whole=whole)
        self._wait_no_more()

    def _wait_no_more(self) -> None:
        """Somebody told, or nobody can."""
        self._settled.set()
        self._informed.set()

    def _hold(self, why: str) -> None:
        self._why = why
        if self._loop is not None:
            self._loop.hold()
        if self._role is not Role.HOLDS:
            self._become(Role.HOLDS)

    def _become(self, role: Role) -> None:
        self._role, self._since_s = role, self._clock()
        leader = self._leadership.leader
        self._metrics.epoch.set(self._epoch(leader))
        why = {"why": self._why} if role is Role.HOLDS else {}
        logger.info(
            f"this replica {role.value}",
            leader=leader.identity if leader is not None else "",
            epoch=self._epoch(leader),
            **why,
        )

    def _is(self, role: Role) -> float:
        return float(self.role is role)

    def _epoch(self, leader: Leader | None) -> int:
        return max(self._follower.epoch, leader.epoch if leader is not None else 0)
