"""What the serving process and its workers say to each other.

MessagePack by msgspec: what arrives is checked against these types, and nothing is executed by
reading it. Both ends are always the same release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from controlplane.front.door import Door
from controlplane.front.proxies import Side
from controlplane.model import Proxy, Zone
from controlplane.xds.gate import Peer


class Message(msgspec.Struct, frozen=True, tag=True):
    """Any of the following."""


class Setup(Message, frozen=True):
    """To a worker, first."""

    door: Door
    log_level: str
    log_format: Literal["console", "json"]


class Gateways(Message, frozen=True):
    """To a worker: these are declared."""

    names: tuple[str, ...]


class Show(Message, frozen=True):
    """To a worker: what is different in a fleet's snapshot from what it was shown before."""

    fleet: str
    types: tuple[str, ...]
    """All types of the snapshot."""
    put: Mapping[str, Mapping[str, bytes]]
    """New and changed resources, by type URL and name."""
    gone: Mapping[str, tuple[str, ...]]
    """Names that are there no more."""
    share: float | None = None
    """Of a stage: for this share of the fleet's Envoys. None: the snapshot."""
    more: bool = False
    """The rest of it follows; nothing is shown before that."""
    places: tuple[Zone, ...] = ()
    """Those whose nodes are shown something else; each is told of after this."""
    where: Zone | None = None
    """Of one of these places: what differs there."""


class EndStage(Message, frozen=True):
    """To a worker: nothing is staged any more in this fleet."""

    fleet: str


class Listen(Message, frozen=True):
    """To a worker: all that is to be served has been told, begin."""


class Stop(Message, frozen=True):
    """To a worker: end the streams, and yourself."""

    grace_s: float


class Listening(Message, frozen=True):
    """From a worker."""

    port: int


class Failed(Message, frozen=True):
    """From a worker: it cannot serve."""

    why: str


class AccessLogs(Message, frozen=True):
    """From a worker: a message of an Envoy, checked to be one."""

    proxy: Proxy
    body: bytes


class LoadReport(Message, frozen=True):
    """From a worker: a message of an Envoy, checked to be one."""

    proxy: Proxy
    body: bytes
    first: bool


class Clients(Message, frozen=True):
    """A question: the streams of a fleet. Answered by a tuple of `Client`."""

    fleet: str


class Proxies(Message, frozen=True):
    """A question: the Envoys that are connected, or the one of this id. A list of documents."""

    node: str | None = None


class Resources(Message, frozen=True):
    """A question: what an Envoy should run or runs. A list of one document, or none."""

    node: str
    side: Side
    only: str | None


class Metrics(Message, frozen=True):
    """A question: everything on /metrics. A list of `Family`."""


class Ping(Message, frozen=True):
    """A question: are you there. Answered by nothing."""


class Statuses(Message, frozen=True):
    """A question, to a worker or from one: who `asks` this ClientStatusRequest is to be told of
    clients elsewhere. To a worker: its `Found`; from one: a list of those of all others."""

    request: bytes
    asks: Peer


class ShouldRateLimit(Message, frozen=True):
    """A question, from a worker: an Envoy's RateLimitRequest. Answered by a RateLimitResponse."""

    request: bytes


Question = Clients | Proxies | Resources | Metrics | Ping | Statuses | ShouldRateLimit


class Ask(Message, frozen=True):
    """A question, either way."""

    number: int
    question: Question


class Answer(Message, frozen=True):
    """The answer to the question of this number."""

    number: int
    body: bytes
    """MessagePack of what the question wants."""
    problem: str = ""
    """Why there is none."""


class Family(msgspec.Struct, frozen=True):
    """A metric family."""

    name: str
    text: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]


Any = (
    Setup
    | Gateways
    | Show
    | EndStage
    | Listen
    | Stop
    | Listening
    | Failed
    | AccessLogs
    | LoadReport
    | Ask
    | Answer
)
