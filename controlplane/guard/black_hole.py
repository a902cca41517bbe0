"""Point 9: a fast error is not speed. What fails far more than its peers gains no share."""

from __future__ import annotations

import numpy as np

from controlplane.guard.bounds import NOTHING
from controlplane.guard.evidence import Evidence
from controlplane.guard.reasons import Code
from controlplane.model import Grouping, Reason
from controlplane.model.observation import Floats


def ceilings(
    wanted: Floats, before: Floats, reference: Floats, evidence: Evidence, grouping: Grouping
) -> tuple[Floats, Reason | None]:
    """(g,) the most that each may get; infinity where errors are no matter."""
    most = np.where(evidence.failing, np.minimum(before, reference), np.inf)
    over = wanted > most + NOTHING
    if not over.any():
        return most, None
    worst = int(np.where(over, wanted - most, -1.0).argmax())
    text = (
        f"{grouping.names[worst]} fails {evidence.error_ratio[worst]:.0%} of its requests, far "
        f"more than its peers: its share may be {most[worst]:.2%}, not {wanted[worst]:.2%}"
    )
    return most, Reason(Code.BLACK_HOLE, text)
