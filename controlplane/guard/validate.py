"""Point 1: a proposal that is not a split of the traffic is refused as a whole."""

from __future__ import annotations

import numpy as np

from controlplane.guard.reasons import Code
from controlplane.model import Grouping, Proposal, Reason
from controlplane.model.observation import Floats


def validate(proposal: Proposal, grouping: Grouping) -> tuple[Floats | None, Reason | None]:
    """The wanted shares, summing to 1; or None and why they cannot be had.

    One bad number spoils the vector: whoever computed it cannot be trusted with the others.
    """
    try:
        wanted = np.asarray(proposal.shares, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None, _refused(proposal, "it is not an array of numbers")
    groups = len(grouping.names)
    if wanted.shape != (groups,):
        return None, _refused(proposal, f"its shape is {wanted.shape}, wanted ({groups},)")
    largest, least = float(wanted.max()), float(wanted.min())
    if not (np.isfinite(largest) and np.isfinite(least)):  # a NaN shows in both
        bad = np.count_nonzero(~np.isfinite(wanted))
        return None, _refused(proposal, f"{bad} of {groups} shares are not finite numbers")
    if least < 0:
        return None, _refused(proposal, f"the smallest share is {least:.4g}, below 0")
    if largest <= 0:
        return None, _refused(proposal, "all shares are 0")
    wanted = wanted / largest  # so that the sum of huge numbers stays finite
    return wanted / wanted.sum(), None


def _refused(proposal: Proposal, why: str) -> Reason:
    return Reason(
        Code.REFUSED, f"the proposal of {proposal.policy} is refused, nothing moves: {why}"
    )
