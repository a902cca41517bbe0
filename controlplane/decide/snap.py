"""Endpoint weights that say little are published as exactly equal ones.

Unequal endpoint weights switch LEAST_REQUEST from a choice by requests in flight to a weighted
schedule, which is worth it only where endpoints clearly differ (rule 35).
"""

from __future__ import annotations

import numpy as np

from controlplane.model.observation import Floats

SNAP_WITHIN = 1.17
"""Largest over smallest share up to which weights say little."""
SLACK = 1.05
"""Equal weights stay until the ratio is this much above `SNAP_WITHIN`, unequal ones until it is
below: the switch itself disturbs."""


def snap(shares: Floats, in_force: Floats) -> Floats:
    """`shares`, or exactly equal ones where they are nearly so.

    >>> snap(np.array([0.52, 0.48]), np.array([0.5, 0.5])).tolist()
    [0.5, 0.5]
    """
    n = len(shares)
    if n < 2 or not np.isfinite(shares).all() or float(shares.min()) <= 0.0:
        return shares
    equal_now = len(in_force) == n and bool(np.ptp(in_force) <= 1e-9)
    limit = SNAP_WITHIN * SLACK if equal_now else SNAP_WITHIN
    if float(shares.max() / shares.min()) > limit:
        return shares
    return np.full(n, 1.0 / n)
