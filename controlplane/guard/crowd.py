"""A split that suits the load of now must not break under a sudden rise of it.

At a low load the best split leaves slow endpoints nearly idle; when a crowd comes, the fast ones
are flooded before the next push. So no weight may get so much that the load times `crowd` would
exceed its capacity. Where the whole service could not carry that load, the ceiling is its capacity
share with some slack: then nobody does better. And who gets far more than its part and more than it
can do is left at once: a queue grows with every step that is taken on the way back.

Capacities are cautious ones (`Estimate.busier`). A quiet service does not show how many requests
its endpoints work on at once, and a bound by a guess of twice the capacity is none for a crowd of
twice the requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.guard.bounds import NOTHING
from controlplane.guard.capacity import Able
from controlplane.guard.evidence import Evidence
from controlplane.guard.reasons import Code
from controlplane.model import Grouping, GuardSettings, Reason
from controlplane.model.observation import Floats

FULL = 0.8
"""Of its cautious capacity: who is given more has a queue soon, or already."""


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """Who may be left at once, who may take it at once, and how far."""

    leave: NDArray[np.bool_]
    """(g,)"""
    take: NDArray[np.bool_]
    """(g,)"""
    refuge: Floats
    """(g,) parts of the estimated capacity: nobody is better off beyond them."""


def relief(
    shares: Floats,
    able: Able,
    evidence: Evidence,
    warming: NDArray[np.bool_] | None,
    settings: GuardSettings,
) -> Relief | None:
    """Whether some of those in force are to be left at once; None where nobody is.

    They are sick or given more than they can do, and that is more than `crowd_slack` times their
    part: nearer to it steps are short enough, and a belief that moves must not move all of it.
    Nobody takes at once who is sick, still warming up, or not heard of.
    """
    if able.rps is None:
        return None
    refuge = able.rps / able.rps.sum()
    leave: NDArray[np.bool_] = shares > settings.crowd_slack * refuge
    if not leave.any():
        return None
    load_rps = max(able.load_rps, evidence.rate_rps)
    leave &= evidence.sick | (shares * load_rps * able.busier > FULL * able.rps)
    if not leave.any():
        return None
    take: NDArray[np.bool_] = evidence.known & ~evidence.sick & (shares < refuge)
    if warming is not None:
        take &= ~warming
    return Relief(leave, take, refuge)


def ceilings(
    wanted: Floats, able: Able, evidence: Evidence, grouping: Grouping, settings: GuardSettings
) -> tuple[Floats, Reason | None]:
    """(g,) the most that each may get; infinity without any load, or without capacities.

    By the load to expect and not by the count of one look: a ceiling by that moves with its noise,
    and is at its highest where by chance few came.
    """
    if able.rps is None or able.load_rps <= 0:
        return np.full(len(wanted), np.inf), None
    # A sick one does not do what it once could: others may take over what it gives up.
    all_rps = float(np.where(evidence.sick, settings.min_ratio, 1.0) @ able.rps)
    spare = all_rps / (settings.crowd * able.load_rps)
    if spare > settings.crowd_slack:
        spare /= able.busier
    most = able.rps / all_rps * max(settings.crowd_slack, spare)
    over = wanted - most
    worst = int(over.argmax())
    if over[worst] <= NOTHING:
        return most, None
    text = (
        f"at {settings.crowd:g} times the {able.load_rps:.4g} requests/s to expect "
        f"{grouping.names[worst]} would be flooded: its share may be {most[worst]:.2%}, not "
        f"{wanted[worst]:.2%}"
    )
    return most, Reason(Code.CROWD, text)
