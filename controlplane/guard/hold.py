"""Point 4: no push for a change too small to matter, and none sooner than the traffic allows.

Each push restarts Envoy's weighted schedule (rule 34 of docs/xds.md): pushed more often than each
worker goes round once, the split is no longer the one that was asked for.
"""

from __future__ import annotations

import numpy as np

from controlplane.guard.bounds import NOTHING
from controlplane.guard.evidence import Evidence
from controlplane.guard.reasons import Code
from controlplane.model import Grouping, GuardSettings, Observation, Reason, Weights
from controlplane.model.observation import Floats

SPACING_MOST_S = 30.0
"""However little traffic there is: a change waits no longer than this."""


def held(
    before: Floats,
    target: Floats,
    after: Floats,
    weights: Weights,
    grouping: Grouping,
    settings: GuardSettings,
) -> Reason | None:
    """Why the step from `before` to `after` is not worth a push, if so.

    Two changes are never too small. One share among many that wants to move by more than a step
    (a sick endpoint among a hundred is 1 % of the traffic). And a return to exactly even endpoint
    weights, which gives Envoy its choice by requests in flight back.
    """
    total = float(np.abs(after - before).sum()) / 2.0
    if total <= NOTHING or total >= settings.hold_below:
        return None
    wide = (target > before * settings.step_up) | (target < before * settings.step_down)
    if wide.any() or _evens_out(after, weights, grouping):
        return None
    return Reason(
        Code.HELD,
        f"the change of {total:.2%} in total is under {settings.hold_below:.2%}: not pushed",
    )


def spaced(
    pushed_s: float,
    now_s: float,
    look: Observation,
    evidence: Evidence,
    grouping: Grouping,
    settings: GuardSettings,
) -> Reason | None:
    """Why it is too early for another push, if so."""
    if evidence.rate_rps <= 0:
        return None
    workers = max(look.workers, look.proxies, 1)
    needed = settings.requests_per_push * len(grouping.names) * workers
    spacing_s = min(needed / evidence.rate_rps, SPACING_MOST_S)
    if now_s - pushed_s >= spacing_s:
        return None
    return Reason(
        Code.SPACED,
        f"the last push was {now_s - pushed_s:.1f} s ago; at {evidence.rate_rps:.4g} requests/s "
        f"over {workers} workers the next may come after {spacing_s:.1f} s",
    )


def _evens_out(after: Floats, weights: Weights, grouping: Grouping) -> bool:
    if grouping.by_locality or len(set(weights.by_group)) == 1:
        return False
    return float(after.max() - after.min()) <= NOTHING
