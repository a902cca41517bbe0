"""A split that suits the load of now must not break under a sudden rise of it.

At a low load the best split leaves slow endpoints nearly idle; when a crowd comes, the fast ones
are flooded before the next push. So no weight may get so much that the load times `crowd` would
exceed its capacity. Where the whole service could not carry that load, the ceiling is its capacity
share with some slack: then nobody does better.
"""

from __future__ import annotations

import numpy as np

from controlplane.guard.bounds import NOTHING
from controlplane.guard.evidence import Evidence
from controlplane.guard.reasons import Code
from controlplane.model import Grouping, GuardSettings, Reason
from controlplane.model.observation import Floats


def ceilings(
    wanted: Floats,
    capacity_rps: Floats,
    evidence: Evidence,
    grouping: Grouping,
    settings: GuardSettings,
) -> tuple[Floats, Reason | None]:
    """(g,) the most that each may get, given the (g,) capacities; infinity without any load."""
    if evidence.rate_rps <= 0:
        return np.full(len(wanted), np.inf), None
    # A sick one does not do what it once could: others may take over what it gives up.
    all_rps = float(np.where(evidence.sick, settings.min_ratio, 1.0) @ capacity_rps)
    risen_rps = settings.crowd * evidence.rate_rps
    most = capacity_rps / all_rps * max(settings.crowd_slack, all_rps / risen_rps)
    over = wanted - most
    worst = int(over.argmax())
    if over[worst] <= NOTHING:
        return most, None
    text = (
        f"at {settings.crowd:g} times the present {evidence.rate_rps:.4g} requests/s "
        f"{grouping.names[worst]} would be flooded: its share may be {most[worst]:.2%}, not "
        f"{wanted[worst]:.2%}"
    )
    return most, Reason(Code.CROWD, text)
