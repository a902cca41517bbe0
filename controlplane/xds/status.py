"""What the server can tell of itself: who is connected, where each client stands, what happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from controlplane.xds.effects import TypeStatus
from controlplane.xds.envelope import Node
from controlplane.xds.kinds import KINDS
from controlplane.xds.steps import Mode
from controlplane.xds.timeline import Times, since


@dataclass(frozen=True, slots=True)
class Client:
    """One connected stream."""

    node: Node
    group: str
    mode: Mode
    peer: str
    since_s: float
    """When it connected, on the server's monotonic clock."""
    types: tuple[TypeStatus, ...]
    times: Mapping[str, Times] = field(default_factory=dict, hash=False)
    """When what happened, by type URL; on the same clock."""
    changed_s: float = 0.0
    """When its snapshot last changed, or the stream began."""

    def acked(self, type_url: str) -> str:
        """The version of the type that this client took last; empty when none."""
        return next((one.acked_version for one in self.types if one.type_url == type_url), "")

    def in_state_since_s(self, one: TypeStatus) -> float:
        """Since when a type of this client is in the state that it is in."""
        return since(one, self.times, self.changed_s)


class State(StrEnum):
    """Whether a client runs what it should of a type."""

    SYNCED = "SYNCED"
    STALE = "STALE"
    """It has not taken what it should run: it was not answered, refused, or is held back."""
    NOT_SENT = "NOT SENT"


def state_of(one: TypeStatus) -> State:
    """The state of a type. A type that left the snapshot is left alone, so nothing is stale."""
    if not one.sent_version:
        return State.NOT_SENT
    if (
        one.waiting
        or one.nack
        or one.held
        or one.acked_version != (one.intended_version or one.sent_version)
    ):
        return State.STALE
    return State.SYNCED


@dataclass(frozen=True, slots=True)
class Connected:
    """A stream was let in."""

    node: Node
    group: str
    mode: Mode
    peer: str


@dataclass(frozen=True, slots=True)
class Left:
    """A stream that was let in has ended, whoever ended it."""

    node: Node
    group: str
    lasted_s: float


@dataclass(frozen=True, slots=True)
class Nack:
    """A client refused a version."""

    node: Node
    group: str
    type_url: str
    version: str
    message: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A stream was ended by us."""

    node: Node | None
    group: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class UnknownType:
    """A client asks for a type that its group's snapshot does not have."""

    node: Node
    group: str
    type_url: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Files of certificates or keys changed: they are in force, or refused with a problem."""

    what: str
    """`tls` or `jwt`."""
    problem: str
    """Why the files are not in force, and the last good ones still are; empty when they are."""


Event = Connected | Left | Nack | Refusal | UnknownType | Reload


class Observer(Protocol):
    """Told of what is worth a line in the log. Must not block; a storm makes many of a kind."""

    def __call__(self, event: Event) -> None:
        """Take note of it."""
        ...


@dataclass(slots=True)
class TypeCounts:
    """What happened with one type in one group since the server was built."""

    pushes: int = 0
    pushed_bytes: int = 0
    acks: int = 0
    nacks: int = 0
    answer_s: float = 0.0
    """Seconds from responses to their ACK or NACK, summed."""
    pushed_at_s: float | None = None
    """When the last of each was, on the monotonic clock."""
    acked_at_s: float | None = None
    nacked_at_s: float | None = None

    def sent(self, size: int, now_s: float) -> None:
        """A response of this many bytes was written."""
        self.pushes += 1
        self.pushed_bytes += size
        self.pushed_at_s = now_s

    def acked(self, now_s: float, sent_s: float | None) -> None:
        """A response that was sent then was taken."""
        self.acks += 1
        self.acked_at_s = now_s
        self.answer_s += now_s - (sent_s if sent_s is not None else now_s)

    def nacked(self, now_s: float, sent_s: float | None) -> None:
        """A response that was sent then was refused."""
        self.nacks += 1
        self.nacked_at_s = now_s
        self.answer_s += now_s - (sent_s if sent_s is not None else now_s)


@dataclass(slots=True)
class GroupCounts:
    """What happened in one group."""

    by_type: dict[str, TypeCounts] = field(default_factory=dict)
    """By type URL; types that are not in our table are together under an empty one."""
    unknown_types: int = 0
    """Streams that asked for a type which the snapshot lacks."""

    def of(self, type_url: str) -> TypeCounts:
        """The counts of a type."""
        found = self.by_type.get(type_url)
        if found is None:  # a client may invent types; that must not cost memory
            found = self.by_type.setdefault(type_url if type_url in KINDS else "", TypeCounts())
        return found


@dataclass(slots=True)
class Counts:
    """Everything that is counted. Plain integers: a push may not cost a metrics library."""

    by_group: dict[str, GroupCounts] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """Streams ended by us, by gRPC status."""
    connects: int = 0

    def group(self, group: str) -> GroupCounts:
        """The counts of a group."""
        return self.by_group.setdefault(group, GroupCounts())

    def of(self, group: str, type_url: str) -> TypeCounts:
        """The counts of a type in a group."""
        return self.group(group).of(type_url)

    @property
    def by_type(self) -> dict[tuple[str, str], TypeCounts]:
        """By group and short name of the type, for reading."""
        return {
            (group, short_name(type_url)): one
            for group, counts in self.by_group.items()
            for type_url, one in counts.by_type.items()
        }

    @property
    def unknown_types(self) -> dict[str, int]:
        """By group, for reading."""
        return {group: counts.unknown_types for group, counts in self.by_group.items()}


def short_name(type_url: str) -> str:
    """A label for a type; what is not in our table is `other`, as clients may invent types.

    >>> short_name("type.googleapis.com/made.Up")
    'other'
    """
    kind = KINDS.get(type_url)
    return kind.name if kind is not None else "other"
