"""When what happened on a stream, type by type. The state machine has no clock; this has.

Times are seconds of the monotonic clock of this process; `since` of one type says since when its
present state holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.xds.effects import Acked, Effect, Nacked, Send, TypeStatus

MAX_MESSAGE = 4096
"""Characters of a refusal that are kept; Envoy's may quote a whole resource."""


@dataclass(slots=True)
class Times:
    """What happened with one type on one stream. None: never."""

    asked_s: float
    sent_s: float | None = None
    acked_s: float | None = None
    nacked_s: float | None = None
    nack: str = ""
    """The message of the last refusal, whether or not something was taken since."""
    nacked_version: str = ""


@dataclass(slots=True)
class Timeline:
    """The times of a stream. Bounded as the stream is: one entry for each of its types."""

    changed_s: float
    """When the snapshot of the client last changed, or the stream began."""
    by_type: dict[str, Times] = field(default_factory=dict)

    def asked(self, type_url: str, now_s: float) -> None:
        """A request for a type came; the first one counts."""
        if type_url not in self.by_type:
            self.by_type[type_url] = Times(now_s)

    def note(self, effect: Effect, now_s: float) -> None:
        """Something came of it."""
        if not isinstance(effect, (Send, Acked, Nacked)):
            return
        times = self.by_type.get(effect.type_url)
        if times is None:  # a stream that is refused for having too many types
            return
        if isinstance(effect, Send):
            times.sent_s = now_s
        elif isinstance(effect, Acked):
            times.acked_s = now_s
        else:
            times.nacked_s = now_s
            times.nack, times.nacked_version = effect.message[:MAX_MESSAGE], effect.version


def since(status: TypeStatus, times: Mapping[str, Times], changed_s: float) -> float:
    """Since when a type is in the state that it is in."""
    known = times.get(status.type_url)
    if known is None:
        return changed_s
    if status.nack and known.nacked_s is not None:
        return known.nacked_s
    if status.waiting and known.sent_s is not None:
        return known.sent_s
    if not status.sent_version:
        return known.asked_s
    if status.held or status.acked_version != status.intended_version:  # held back by another type
        return max(changed_s, known.asked_s)
    return known.acked_s if known.acked_s is not None else known.asked_s
