"""Point 2: no share far from what the capacity of its endpoints says.

Bounds are those of endpoints; a group has the sum of its endpoints' bounds. The capacity shares
lie within them, so there is always a split that keeps them all, and the nearest one is found
exactly. Clipping and dividing by the new sum would break the bounds again.
"""

from __future__ import annotations

import numpy as np

from controlplane.guard.reasons import Code
from controlplane.model import Grouping, GuardSettings, Reason
from controlplane.model.observation import Floats

NOTHING = 1e-9
"""A difference below this is rounding of the arithmetic, not a change."""


def limits(reference: Floats, grouping: Grouping, settings: GuardSettings) -> tuple[Floats, Floats]:
    """(g,) least and greatest shares, from the (n,) capacity shares of the endpoints."""
    n = len(reference)
    if n == 1:
        return np.ones(1), np.ones(1)
    most = settings.max_share if n > 2 else settings.max_share_of_two
    low = settings.min_ratio * reference
    high = np.minimum(settings.max_ratio * reference, np.maximum(most, reference))
    return grouping.total(low), np.minimum(grouping.total(high), 1.0)


def feasible(soft: Floats, hard: Floats) -> Floats:
    """The soft ceilings, lifted toward the hard ones just so far that they leave room for 1."""
    room = float(soft.sum())
    if room >= 1.0:
        return soft
    lift = min(1.0, (1.0 - room) / max(float(hard.sum()) - room, NOTHING))
    lifted: Floats = soft + lift * (hard - soft)
    return lifted


def project(wanted: Floats, low: Floats, high: Floats, sizes: Floats) -> Floats:
    """The split nearest to `wanted` that is within the limits.

    Nearest in the sum of squares over endpoints, each with an even part of its group. Then it is
    clip(wanted - t * sizes, low, high) for the one t at which it sums to 1; the sum falls with t
    along straight lines between the points where a share leaves or meets a limit, so t is found by
    sorting those points.
    """
    clipped = np.minimum(np.maximum(wanted, low), high)
    if abs(float(clipped.sum()) - 1.0) <= NOTHING:
        return clipped
    leave, meet = (wanted - high) / sizes, (wanted - low) / sizes
    points = np.concatenate([leave, meet])
    order = np.argsort(points, kind="stable")
    points = points[order]
    slopes = np.cumsum(np.concatenate([sizes, -sizes])[order])
    sums = float(high.sum()) - np.concatenate([[0.0], np.cumsum(slopes[:-1] * np.diff(points))])
    k = int(np.searchsorted(-sums, -1.0, side="right")) - 1
    k = min(max(k, 0), len(points) - 1)
    t = points[k] + (max(sums[k] - 1.0, 0.0) / slopes[k] if slopes[k] > 0 else 0.0)
    nearest: Floats = np.minimum(np.maximum(wanted - t * sizes, low), high)
    return nearest


def bounded(wanted: Floats, within: Floats, grouping: Grouping) -> Reason | None:
    """What the projection changed, in words."""
    moved = np.abs(within - wanted)
    worst = int(moved.argmax())
    if moved[worst] <= NOTHING:
        return None
    return Reason(
        Code.BOUNDED,
        f"{np.count_nonzero(moved > NOTHING)} of {len(wanted)} shares brought within bounds, the "
        f"furthest {grouping.names[worst]} from {wanted[worst]:.2%} to {within[worst]:.2%}",
    )
