"""What replicas say to each other: MessagePack by msgspec, checked against these types.

During an upgrade the two ends are of different releases. Fields may be added with a default, and
then an older end ignores them; whatever else changes raises `PROTOCOL`, and replicas of different
protocols do not follow each other: they hold.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controlplane.errors import WeirError
from controlplane.front.programmed import Taking
from controlplane.model import Proxy

PROTOCOL = 1
MOST_BYTES = 16 << 20
"""Of a message."""


class UnreadableError(WeirError):
    """A message that is none of these."""


class Message(msgspec.Struct, frozen=True, tag=True):
    """Any of the following."""


class Hello(Message, frozen=True):
    """Up, first."""

    protocol: int
    replica: str
    """Tells it from all others."""
    epoch: int
    """Of whom it takes the other end for."""


class AccessLogs(Message, frozen=True):
    """Up: a message of an Envoy, checked to be one."""

    proxy: Proxy
    body: bytes


class LoadReport(Message, frozen=True):
    """Up: a message of an Envoy, checked to be one."""

    proxy: Proxy
    body: bytes
    first: bool


class Fleet(msgspec.Struct, frozen=True):
    """The Envoys of a fleet that a replica serves."""

    versions: Mapping[str, str]
    """What they should run, by type URL; not what changes all the time: assignments, runtime."""
    envoys: tuple[Taking, ...]
    waits: str = ""
    """Why none of them can have taken what is declared yet; empty where that is not so."""


class Frozen(msgspec.Struct, frozen=True):
    """What a person froze at a replica, and why."""

    all: str | None = None
    services: Mapping[str, str] = {}


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """A document that is refused, by its last valid version."""

    file: str
    """What problems call it."""
    document: bytes
    version: int
    """By the count of the API server; 0: not known."""


class Roll(Message, frozen=True):
    """Up, once a second: what differs from the roll before."""

    fleets: Mapping[str, Fleet]
    gone: tuple[str, ...] = ()
    frozen: Frozen | None = None
    """None: as before."""
    refused: tuple[Refused, ...] = ()
    """What was not told before."""


class Goodbye(Message, frozen=True):
    """Up, last: its Envoys are told to go elsewhere."""


class Groups(msgspec.Struct, frozen=True, array_like=True):
    """Endpoints and their groups."""

    endpoints: tuple[str, ...]
    names: tuple[str, ...]
    index: tuple[int, ...]
    by_locality: bool


class State(msgspec.Struct, frozen=True, array_like=True):
    """How a service stands. Ages are in seconds; floats in bytes are little endian, 8 each."""

    service: str
    saved_at: float
    document: str
    """The last good state as the store has it."""
    arrived_s: bytes
    """(n,) ages, in the order of the document's endpoints."""
    pushed_s: float
    regrouped_s: float
    endpoints: tuple[str, ...]
    """Of the table; empty: in the order of the document."""
    looked_s: float
    table: bytes
    """(rows, n) of an Estimate."""
    shared: bytes
    wanted: Groups | None
    """None: those of the document."""
    wanted_s: float
    seen_enough: bool
    reasons: tuple[tuple[str, str], ...]


class Told(Message, frozen=True):
    """Down, at once when something changed and otherwise once a second."""

    epoch: int
    percent: float
    """Of the requests that are logged."""
    states: tuple[State, ...] = ()
    whole: bool = False
    """These are all that there are, with those before this that had `more`."""
    more: bool = False
    """The rest of it follows; nothing is in force before that."""
    frozen: Frozen | None = None
    """At the replica that decides. None: as before."""
    followers: tuple[str, ...] = ()
    """Whom the next one that decides is to expect."""
    refused: tuple[Refused, ...] = ()
    """What was not told before."""


Up = Hello | AccessLogs | LoadReport | Roll | Goodbye

_encoder = msgspec.msgpack.Encoder()
_up = msgspec.msgpack.Decoder(Up)
_down = msgspec.msgpack.Decoder(Told)


def encoded(message: Message) -> bytes:
    """As it travels."""
    return _encoder.encode(message)


def up(body: bytes) -> Up:
    """A message of a replica that follows. Raises `UnreadableError`."""
    try:
        found: Up = _up.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"a replica said what is no message: {error}") from error
    return found


def down(body: bytes) -> Told:
    """A message of the replica that decides. Raises `UnreadableError`."""
    try:
        return _down.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"whoever decides said what is no message: {error}") from error
