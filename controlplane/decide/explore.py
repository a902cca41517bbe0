"""Noise on what is decided, so that something can be learned from what came of it.

Normal, on the residual of a learned policy or, for its base, on a residual of 0; only where a
learned policy could act: groups that carry weights, at least two. The guard sees the result as it
sees any proposal. What was drawn and how likely that was goes into the log of decisions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from controlplane.model import Explored, Proposal, Situation
from controlplane.model.decisions import base_of, explorable
from controlplane.model.residual import corrected, residual_of


def explore(
    acts: Proposal, situation: Situation, seed: int, now_s: float
) -> tuple[Proposal, Explored | None]:
    """What is to act, with the noise that its service asks for; as it is where none is.

    The noise hangs on the seed, the name of the service and the time alone.
    """
    service = situation.service
    if service.exploration <= 0.0:
        return acts, None
    base = base_of(acts)
    shadow = acts.base is not None and service.rollout.share <= 0.0
    if base is None or shadow or not explorable(situation):
        note = "nothing is explored: no correction of group weights acts here"
        return replace(acts, notes=(*acts.notes, note)), None
    mean = residual_of(base, acts.shares)
    if not np.isfinite(mean).all():
        return acts, None
    random = np.random.default_rng([seed, max(int(now_s * 1e6), 0), *service.name.encode()])
    drawn = mean + service.exploration * random.standard_normal(len(mean))
    most = max(acts.bound, float(np.abs(mean).max()))
    shares = corrected(base, np.clip(drawn, -most, most))
    note = f"explores with a deviation of {service.exploration:g}"
    acts = replace(acts, shares=shares, notes=(*acts.notes, note))
    return acts, Explored(base, mean, drawn, service.exploration)
