"""Point 8: a new endpoint starts low and ramps; no policy decides about it before it is warm.

The ramp is from `min_ratio` to 1 times its capacity share. A weight that warm and warming
endpoints share is a warm one: its endpoints get even parts, whatever their age.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.guard.bounds import NOTHING
from controlplane.guard.reasons import Code
from controlplane.model import Grouping, GuardSettings, Reason
from controlplane.model.observation import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ramp:
    """Which weights are warming up, and how far."""

    warming: NDArray[np.bool_]
    """(g,) whether all endpoints of it are."""
    part: Floats
    """(g,) how much of its capacity share each may have; 1 for the warm."""


def ramp(
    first_seen_s: Floats, checked_s: float, now_s: float, grouping: Grouping,
    settings: GuardSettings,
) -> Ramp | None:  # fmt: skip
    """Who is warming up; None when nobody is.

    An endpoint that was warming at the last check is still on its ramp in this one, so that no
    ramp ends short of its top.
    """
    newest_s = float(first_seen_s.max())
    if settings.warmup_s <= 0 or min(checked_s, now_s) - newest_s >= settings.warmup_s:
        return None
    recent = np.isfinite(first_seen_s) & (checked_s - first_seen_s < settings.warmup_s)
    warming = grouping.total(recent.astype(np.float64)) >= grouping.sizes
    if not warming.any() or warming.all():
        return None
    age = np.where(recent, (now_s - first_seen_s) / settings.warmup_s, 1.0)
    age = np.minimum(np.maximum(age, 0.0), 1.0)
    low = settings.min_ratio
    part = low + (1.0 - low) * grouping.total(age) / grouping.sizes
    return Ramp(warming, np.where(warming, part, 1.0))


def warm_up(
    wanted: Floats, ramp: Ramp, reference: Floats, grouping: Grouping
) -> tuple[Floats, Reason]:
    """`wanted`, but the warming ones stand on their ramp and the others share the rest."""
    warming = ramp.warming
    ramped = np.where(warming, ramp.part * reference, wanted)
    rest, others = 1.0 - float(ramped[warming].sum()), float(wanted[~warming].sum())
    if others > NOTHING:
        ramped[~warming] *= rest / others
    else:
        ramped[~warming] = rest * reference[~warming] / reference[~warming].sum()
    first = int(np.flatnonzero(warming)[0])
    text = (
        f"{np.count_nonzero(warming)} of {len(wanted)} are new and ramp up, "
        f"{grouping.names[first]} to {ramped[first]:.2%} on its way to {reference[first]:.2%}"
    )
    return ramped, Reason(Code.WARMING, text)
