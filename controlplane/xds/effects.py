"""What goes into the state machine of a stream, and what comes out of it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.xds.steps import Step


@dataclass(frozen=True, slots=True)
class Request:
    """The parts of a request that move the protocol, in either mode."""

    type_url: str
    nonce: str = ""
    error: str | None = None
    """The message of its `error_detail`; None when there is none."""
    names: frozenset[str] = frozenset()
    """State of the world: all names. Delta: the names to subscribe."""
    unsubscribe: frozenset[str] = frozenset()
    initial_versions: Mapping[str, str] = field(default_factory=dict, hash=False)


class Send(NamedTuple):
    """Write this now. A tuple, as one is made for each response."""

    type_url: str
    nonce: str
    step: Step


@dataclass(frozen=True, slots=True)
class Acked:
    """The client took this version."""

    type_url: str
    version: str


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client refused this version and keeps what it had."""

    type_url: str
    version: str
    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The client asks for a type that the snapshot does not have (rule 3)."""

    type_url: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the stream with this gRPC status."""

    code: str
    message: str


Effect = Send | Acked | Nacked | Unknown | Close


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """Where a client stands with one type."""

    type_url: str
    wildcard: bool
    names: int
    sent_version: str
    """Empty: nothing was sent yet."""
    acked_version: str
    """Empty: nothing was taken yet."""
    nack: str
    """Why it refused what was sent last; empty when it did not."""
    waiting: bool
    """A response has not been answered yet."""
    intended_version: str = ""
    """What it should run; empty where the snapshot does not have the type."""
    held: bool = False
    """Something of it waits for clusters that the client has not taken, or is a removal that waits
    for what names it."""
