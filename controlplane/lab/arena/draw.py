"""Who plays beside whom.

Lanes of one heat are asked the same at the same time, so that what disturbs one disturbs all: on a
machine that is shared, ratios within a heat spread by 1 to 2 % in the mean over seeds (the demo's
table in the README), where lanes in turn resolved 4 to 5 %. But a machine that plays too many lanes
at once is late, and then nothing counts. So: as many side by side as it has room for, the reference
in every heat, and the heats in turn with the same seed. That the reference plays several times
also tells how far one machine is from itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

REQUESTS_PER_CORE = 600.0
"""Of all lanes of a heat, each second. A request costs about 0.9 ms of all processes together
(benchmarks/lab_cost.py), so this is little more than half of the machine."""
MOST_ENVOYS = 110
"""Of all lanes of a heat: they share a machine's memory."""


@dataclass(frozen=True, slots=True)
class Room:
    """What one heat may have at most."""

    requests_per_s: float
    envoys: int = MOST_ENVOYS

    @classmethod
    def of_this_machine(cls) -> Room:
        """By its cores."""
        return cls(REQUESTS_PER_CORE * len(os.sched_getaffinity(0)))

    def lanes(self, *, rate_rps: float, envoys: int) -> int:
        """How many lanes of this kind go side by side; two at least: one and the reference."""
        return max(2, min(int(self.requests_per_s / rate_rps), self.envoys // envoys))


def heats(
    names: Sequence[str], reference: str, room: Room, *, rate_rps: float, envoys: int
) -> tuple[tuple[str, ...], ...]:
    """Everyone once, the reference in each heat, heats as even as can be.

    From the end of the list on, so that neighbours there, whose difference is small, meet.

    >>> heats(["a", "b", "c", "d", "e"], "a", Room(600.0), rate_rps=200.0, envoys=4)
    (('a', 'd', 'e'), ('a', 'b', 'c'))
    """
    others = [name for name in names if name != reference]
    if not others:
        return ((reference,),)
    beside = room.lanes(rate_rps=rate_rps, envoys=envoys) - 1
    many = -(-len(others) // beside)
    drawn, end = [], len(others)
    for i in range(many):
        size = -(-end // (many - i))
        drawn.append((reference, *others[end - size : end]))
        end -= size
    return tuple(drawn)
