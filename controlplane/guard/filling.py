"""Point 6, one endpoint missing: it gets its peers' mean, never 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controlplane.guard.bounds import NOTHING
from controlplane.guard.reasons import Code
from controlplane.model import Grouping, Reason
from controlplane.model.observation import Floats


def fill(
    wanted: Floats, known: NDArray[np.bool_], reference: Floats, grouping: Grouping
) -> tuple[Floats, Reason | None]:
    """`wanted`, where weights without numbers get the mean of the others, by capacity."""
    if known.all() or not known.any():
        return wanted, None
    peers = float(wanted[known].sum())
    if peers <= NOTHING:  # all of it is wanted for those that nothing is known of
        return wanted, None
    unknown = ~known
    mean = peers / float(reference[known].sum())
    filled = np.where(unknown, mean * reference, wanted)
    filled /= filled.sum()
    first = int(np.flatnonzero(unknown)[0])
    text = (
        f"{np.count_nonzero(unknown)} of {len(wanted)} have no numbers and get their peers' mean, "
        f"{grouping.names[first]} {filled[first]:.2%} instead of {wanted[first]:.2%}"
    )
    return filled, Reason(Code.FILLED, text)
