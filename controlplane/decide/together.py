"""When no split between zones is safe: all of them as one, which Envoy itself spreads.

A split between zones is fixed for a second or more. Where a zone is flooded while the others have
next to no room, each second of it makes a queue that is not worked off for minutes; one full scan
over the endpoints of all zones makes none, as every request sees where the others are. It does not
know the ways, so it is what we fall back to and not where we begin.

It is recognised by requests that take far longer than they should: before capacities are learned
anew, which takes several looks. It stays until the zones have been calm for long, and have room.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controlplane.decide.regions import failing, stations, took
from controlplane.model import Situation
from controlplane.model.observation import Floats

FLOODED = 3.0
"""A zone is flooded when its requests take so many times as long as they should."""
ROOM = 0.8
"""Above this part of all capacity there is too little room to go back to a split."""
CALM_S = 10.0
"""For so long no zone is flooded, and there is room, before there is a split again."""


USUAL_S = 10.0
"""What is usual of a zone is its mean over about so long."""
UNUSUAL = 2.0
"""A zone was not always flooded: it takes so many times what is usual of it."""
LEARNING_S = 5.0
"""For so long after the first look no split is in force that the numbers speak of."""


@dataclass(frozen=True, slots=True, eq=False)
class Alarm:
    """Whether all zones are one."""

    on: bool = False
    last_s: float = -np.inf
    """When a look last gave reason for it."""
    why: str = ""
    since_s: float = np.nan
    """Of the first look."""
    at_s: float = np.nan
    usual: Floats | None = None
    """(zones,) mean of the log of how many times as long as they should requests take."""

    def next(self, whole: Situation, zone: NDArray[np.intp], names: tuple[str, ...]) -> Alarm:
        """With one more look at all zones; `zone` (groups,) says whose each group is.

        A zone that fails ends it: to a full scan, who fails fast is idle.
        """
        known = stations(whole)
        if known is None:
            return self
        there, load = known
        at_s = whole.observation.at_s
        really, should = took(whole, zone, there, len(names))
        with np.errstate(all="ignore"):
            log = np.log(really / should)
        usual = log if self.usual is None else np.where(np.isfinite(self.usual), self.usual, log)
        times = np.exp(np.nan_to_num(log, nan=-np.inf))
        flooded = times > np.maximum(FLOODED, UNUSUAL * np.exp(np.nan_to_num(usual)))
        part = 0.0 if self.usual is None else 1.0 - np.exp(-(at_s - self.at_s) / USUAL_S)
        after = replace(
            self,
            since_s=self.since_s if np.isfinite(self.since_s) else at_s,
            at_s=at_s,
            usual=np.where(np.isfinite(log), usual + part * (log - usual), usual),
        )
        if failing(whole, zone, len(names)).any():
            return replace(after, on=False)
        if flooded.any() and at_s - after.since_s >= LEARNING_S:
            worst = int(np.where(flooded, times, 0.0).argmax())
            why = f"requests in {names[worst]} take {times[worst]:.1f} times as long as they should"
            return replace(after, on=True, last_s=at_s, why=why)
        if not self.on:
            return after
        resumed = not np.isfinite(self.last_s)
        if resumed or load > ROOM or (times > FLOODED).any():
            return replace(after, last_s=at_s)
        return replace(after, on=at_s - self.last_s < CALM_S)
