"""Who follows, and where their Envoys stand: kept by the replica that decides.

Nothing is taken for granted of a replica that is not heard. As long as it may be there, its Envoys
make no `Programmed` true; one that was lost without a goodbye may be there for `LOST_S`. After that
it counts no more: its Envoys have found others, or serve on with what they have. What a person
froze at a replica outlives it: nobody but a person resumes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.front.programmed import Taking
from controlplane.replicas.messages import Fleet, Frozen, Roll

STALE_S = 3.0
"""A replica that said nothing for so long is silent; it speaks once a second."""
LOST_S = 30.0
"""A replica whose stream ended without a goodbye is waited for."""
MOST_LOST = 64

Versions = Callable[[str], Mapping[str, str]]
"""What the Envoys of a fleet should run, by type URL, as in `Fleet.versions`."""


@dataclass(slots=True)
class Member:
    """A replica that follows."""

    replica: str
    heard_s: float
    lost_s: float | None = None
    """When its stream ended."""
    told: bool = False
    """Whether it ever said where its Envoys stand."""
    fleets: dict[str, Fleet] = field(default_factory=dict)
    frozen: Frozen = Frozen()  # noqa: RUF009 - it is frozen itself


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The Envoys of a fleet that other replicas serve."""

    envoys: tuple[Taking, ...] = ()
    waits: str = ""
    """Why it is not known how far they are; empty where it is."""


class RollCall:
    """All replicas that follow, or did a short while ago."""

    def __init__(
        self,
        clock: Callable[[], float],
        versions: Versions,
        inherit: Callable[[Mapping[str, Frozen]], None],
    ) -> None:
        """`inherit` gets what was frozen, by replica, at those that count no more."""
        self._clock = clock
        self._versions = versions
        self._inherit = inherit
        self._members: dict[str, Member] = {}

    @property
    def names(self) -> list[str]:
        """Who follows now."""
        return sorted(one.replica for one in self._members.values() if one.lost_s is None)

    def join(self, replica: str) -> Member:
        """It follows from now on. Who holds an earlier `Member` of it is not heard any more."""
        before = self._members.get(replica)
        member = self._members[replica] = Member(replica, self._clock())
        if before is not None:
            member.frozen = before.frozen  # until it says so itself
        return member

    def expect(self, replicas: Iterable[str]) -> None:
        """These followed the one that decided before, and will follow us."""
        for replica in replicas:
            if replica not in self._members:
                self.lose(self.join(replica))

    def hear(self, member: Member, roll: Roll | None = None) -> None:
        """It said something."""
        member.heard_s = self._clock()
        if roll is not None:
            member.told = True
            member.fleets.update(roll.fleets)
            member.frozen = roll.frozen if roll.frozen is not None else member.frozen
            for fleet in roll.gone:
                member.fleets.pop(fleet, None)

    def leave(self, member: Member) -> None:
        """It said goodbye."""
        if self._members.get(member.replica) is member:
            self._forget([member])

    def lose(self, member: Member) -> None:
        """Its stream ended."""
        member.lost_s = self._clock()
        lost = [one for one in self._members.values() if one.lost_s is not None]
        self._forget(sorted(lost, key=lambda one: one.lost_s or 0.0)[:-MOST_LOST])

    def clear(self) -> None:
        """Nobody follows us any more: another replica decides. Who is there will tell it."""
        self._forget([one for one in self._members.values() if one.lost_s is not None])
        self._members.clear()

    def frozen(self) -> dict[str, Frozen]:
        """What people froze, by replica."""
        return {one.replica: one.frozen for one in self._counted()}

    def elsewhere(self, fleet: str) -> Elsewhere:
        """The Envoys of the fleet that other replicas serve."""
        envoys: list[Taking] = []
        waits = ""
        for member in self._counted():
            found = member.fleets.get(fleet)
            envoys += found.envoys if found is not None else ()
            waits = waits or self._waits(member, fleet, found)
        return Elsewhere(tuple(envoys), waits)

    def _counted(self) -> list[Member]:
        """Those that are there, or may be."""
        until_s = self._clock() - LOST_S
        members = self._members.values()
        self._forget([one for one in members if one.lost_s is not None and one.lost_s <= until_s])
        return list(self._members.values())

    def _forget(self, members: Iterable[Member]) -> None:
        for member in members:
            del self._members[member.replica]
            if member.frozen != Frozen():
                self._inherit({member.replica: member.frozen})

    def _waits(self, member: Member, fleet: str, found: Fleet | None) -> str:
        if not member.told:
            return f"replica {member.replica} has not said yet where its Envoys are"
        silent = self._clock() >= member.heard_s + STALE_S
        if silent and member.lost_s is None:
            return f"replica {member.replica} does not say where its Envoys are"
        if found is None or not found.envoys:
            return ""
        if silent:
            return f"replica {member.replica} was lost: its Envoys are waited for"
        if found.waits:
            return f"replica {member.replica}: {found.waits}"
        if dict(found.versions) != dict(self._versions(fleet)):
            return f"replica {member.replica} serves another version yet"
        return ""
