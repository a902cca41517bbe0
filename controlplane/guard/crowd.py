"""A split that suits the load of now must not break under a sudden rise of it.

At a low load the best split leaves slow endpoints nearly idle; when a crowd comes, the fast ones
are flooded before the next push. So no weight may get so much that the load times `crowd` would
exceed its capacity. Where the whole service could not carry that load, the ceiling is its capacity
share with some slack: then nobody does better. And who gets more than it can do now is left at
once: a queue grows with every step that is taken on the way back.

Capacities are cautious ones. A quiet service does not show how many requests its endpoints work on
at once, and a bound by a guess of twice the capacity is none for a crowd of twice the requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.guard.bounds import NOTHING
from controlplane.guard.evidence import Evidence
from controlplane.guard.reasons import Code
from controlplane.model import Grouping, GuardSettings, Reason
from controlplane.model.observation import Floats

FULL = 0.8
"""Of its cautious capacity: who is given more has a queue soon, or already."""


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """Who is to be left, and how far at once."""

    flooded: NDArray[np.bool_]
    """(g,)"""
    refuge: Floats
    """(g,) the capacity shares: nobody is better off beyond them while another is flooded."""


def flooded(
    shares: Floats, capacity_rps: Floats, load_rps: float, evidence: Evidence
) -> NDArray[np.bool_]:
    """(g,) who gets more than it can do, given the (g,) capacities, or shows that it does."""
    over: NDArray[np.bool_] = shares * max(load_rps, evidence.rate_rps) > FULL * capacity_rps
    return over | evidence.sick


def ceilings(
    wanted: Floats,
    capacity_rps: Floats,
    load_rps: float,
    evidence: Evidence,
    grouping: Grouping,
    settings: GuardSettings,
) -> tuple[Floats, Reason | None]:
    """(g,) the most that each may get, given the (g,) capacities; infinity without any load.

    `load_rps` is not the count of one look: a ceiling by that moves with its noise, and is at its
    highest where by chance few came.
    """
    if load_rps <= 0:
        return np.full(len(wanted), np.inf), None
    # A sick one does not do what it once could: others may take over what it gives up.
    all_rps = float(np.where(evidence.sick, settings.min_ratio, 1.0) @ capacity_rps)
    risen_rps = settings.crowd * load_rps
    most = capacity_rps / all_rps * max(settings.crowd_slack, all_rps / risen_rps)
    over = wanted - most
    worst = int(over.argmax())
    if over[worst] <= NOTHING:
        return most, None
    text = (
        f"at {settings.crowd:g} times the present {load_rps:.4g} requests/s "
        f"{grouping.names[worst]} would be flooded: its share may be {most[worst]:.2%}, not "
        f"{wanted[worst]:.2%}"
    )
    return most, Reason(Code.CROWD, text)
