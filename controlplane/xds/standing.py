"""Where a stream stands with one type: what it wants, what it has, what it has been told."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.xds.effects import TypeStatus
from controlplane.xds.kinds import Kind
from controlplane.xds.refusals import NONE, TRIES, Refusals
from controlplane.xds.steps import NOTHING, Holding, Step
from controlplane.xds.subscription import Wants
from controlplane.xds.versions import ResourceSet


@dataclass(slots=True)
class Standing:
    """Written by `stream` alone; everything in it is a value."""

    kind: Kind
    wants: Wants = field(default_factory=Wants)
    listed: frozenset[str] | None = None
    """The names of the last request as they stood in it (state of the world)."""
    has: Holding = NOTHING
    taken: Holding = NOTHING
    """What the client said that it runs, as of its last ACK; for reports alone."""
    seen: ResourceSet | None = None
    """The set that `has` was last brought to."""
    dirty: bool = False
    """The subscription changed since."""
    again: frozenset[str] = frozenset()
    owes: bool = False
    refused: Refusals = NONE
    tries: int = TRIES
    """So often it may still refuse suspects before it takes some."""
    turn: bool = False
    """Suspects waited for what is clean."""
    holds: bool = False
    """A removal was held back."""
    awaits: frozenset[str] = frozenset()
    """Clusters that something waits for which was not sent, because the client has not taken
    them yet."""
    unproven: frozenset[str] = frozenset()
    """Of clusters: those that are new to the client, sent, and not answered yet."""
    doubted: frozenset[str] = frozenset()
    """Of clusters: those that were new to the client in a response that it refused."""
    more: bool = False
    """Not all that was to be said was in the last response."""
    nonce: str = ""
    generation: int = -1
    repeats: int = 0
    waiting: Step | None = None
    sent_version: str = ""
    acked_version: str = ""
    nack: str | None = None

    def has_news(self, target: ResourceSet | None) -> bool:
        """Whether there may be something to say."""
        return target is not None and (
            self.seen is not target
            or self.dirty
            or self.owes
            or self.more
            or self.holds
            or bool(self.awaits)
            or bool(self.again)
        )

    def settled(self, target: ResourceSet | None) -> bool:
        """Whether the client runs the target."""
        return self.waiting is None and self.nack is None and not self.has_news(target)

    def took(self, step: Step) -> None:
        """The client has all that the step leads to. What it refused it has as it was before."""
        self.taken = step.has.surely(self.taken) if self.refused else step.has

    def status(self, target: ResourceSet | None) -> TypeStatus:
        """Where the client stands, for people."""
        return TypeStatus(
            type_url=self.kind.type_url,
            wildcard=self.wants.wildcard,
            names=len(self.wants.names),
            sent_version=self.sent_version,
            acked_version=self.acked_version,
            nack=self.nack or "",
            waiting=self.waiting is not None,
            intended_version=target.version if target is not None else "",
            held=bool(self.awaits) or self.holds,
        )
