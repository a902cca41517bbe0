"""Point 3: a share moves by a small factor and by few points at a time.

What some may not gain others do not have to give: the larger of the two sides is scaled down to
the smaller. So no share ever moves further than was asked, or the other way.

Steps are for the way out. While somebody is flooded the way back to the capacity shares is free.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controlplane.guard.bounds import NOTHING
from controlplane.guard.crowd import Relief
from controlplane.guard.reasons import Code
from controlplane.model import Grouping, GuardSettings, Reason
from controlplane.model.observation import Floats


def step(
    before: Floats,
    target: Floats,
    settings: GuardSettings,
    sick: NDArray[np.bool_],
    grouping: Grouping,
    relief: Relief | None = None,
) -> tuple[Floats, tuple[Reason, ...]]:
    """As far from `before` to `target` as one step goes, and why not all the way."""
    lowest = np.maximum(before * settings.step_down, before - settings.step_points)
    highest = np.minimum(before * settings.step_up, before + settings.step_points)
    hurried = sick & (target < lowest)
    reasons: list[Reason] = []
    if hurried.any():
        lowest = np.where(hurried, before * settings.step_down_sick, lowest)
        names = ", ".join(grouping.names[i] for i in np.flatnonzero(hurried)[:3])
        reasons.append(
            Reason(
                Code.SICK,
                f"{np.count_nonzero(hurried)} of {len(before)} ({names}) have far more errors or "
                f"latency than their peers and may shrink by {settings.step_down_sick:g} a step",
            )
        )
    after = _limited(before, target, lowest, highest)
    if relief is not None:
        low = np.where(relief.leave, np.minimum(lowest, relief.refuge), lowest)
        high = np.where(relief.take, np.maximum(highest, relief.refuge), highest)
        further = _limited(before, target, low, high)
        if np.abs(further - after).max() > NOTHING:
            after = further
            names = ", ".join(grouping.names[i] for i in np.flatnonzero(relief.leave)[:3])
            text = (
                f"{names} would be flooded, sick or given more than its capacity: back to the "
                "capacity shares without steps"
            )
            reasons.append(Reason(Code.RELIEVED, text))
    short = np.abs(after - target)
    worst = int(short.argmax())
    if short[worst] <= NOTHING:
        return target, tuple(reasons)
    reasons.append(
        Reason(
            Code.STEPPED,
            f"{np.count_nonzero(short > NOTHING)} of {len(before)} shares take a smaller step, the "
            f"furthest {grouping.names[worst]} from {before[worst]:.2%} to {after[worst]:.2%} "
            f"instead of {target[worst]:.2%}",
        )
    )
    return after, tuple(reasons)


def _limited(before: Floats, target: Floats, lowest: Floats, highest: Floats) -> Floats:
    """Toward `target` within these limits, the larger of the two sides scaled to the smaller."""
    reached = np.minimum(np.maximum(target, lowest), highest)
    if float(np.abs(reached - target).max()) <= NOTHING:
        return target
    move = reached - before
    up, down = np.maximum(move, 0.0), np.minimum(move, 0.0)
    gain, loss = float(up.sum()), -float(down.sum())
    paid = min(gain, loss)
    after: Floats = (
        before + up * (paid / gain if gain > 0 else 0.0) + down * (paid / loss if loss else 0.0)
    )
    return after
