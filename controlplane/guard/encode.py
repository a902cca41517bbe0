"""Point 5: shares as integers of a fixed total, by largest remainder, none below 1.

The even share of an endpoint is UNIT, so equal shares are exactly equal integers: Envoy's
LEAST_REQUEST then chooses by requests in flight again.
"""

from __future__ import annotations

import numpy as np

from controlplane.model import Grouping, Weights
from controlplane.model.observation import Floats
from controlplane.model.weights import MAX_TOTAL

UNIT = 10_000


def total_of(grouping: Grouping) -> int:
    """What the weights of this grouping sum to: the same for every split."""
    n = len(grouping.endpoints)
    return n * max(1, min(UNIT, MAX_TOTAL // max(n, 1)))


def encode(shares: Floats, grouping: Grouping) -> Weights:
    """Weights within one unit of `shares` (but for what lifting a share to 1 unit takes)."""
    if not len(shares):
        return Weights(())
    quotas = shares * total_of(grouping)
    units = np.maximum(np.floor(quotas), 1.0)
    missing = round(total_of(grouping) - float(units.sum()))
    if missing > 0:
        nearest = np.argsort(units - quotas, kind="stable")
        units[nearest[: missing % len(units)]] += 1.0
        units += missing // len(units)
    while missing < 0:  # each turn empties one share down to 1: at most as many as there are
        largest = int(units.argmax())
        taken = min(-missing, int(units[largest]) - 1)
        units[largest] -= taken
        missing += taken
    return Weights(tuple(units.astype(np.int64).tolist()))
