"""`pid`: a PID controller for each group, as Dropbox's Robinhood has one for each endpoint.

A baseline: what balancing by feedback alone is worth. Setpoint is the mean utilisation of the
service; each controller moves the weight of its group by what its own utilisation is off, in
relation to the mean. Only the integral part acts: the shares in force are the integral, so that it
keeps no state, cannot wind up, and goes on from whatever the guard let through. Proportional and
derivative parts would act on differences between two looks, which at a look a second are mostly
noise. Where endpoints do not say
how busy they are it takes their requests in flight, which Robinhood does for services that are not
bound by CPU. Source: "What's new with Robinhood, our in-house load balancing service", Dropbox,
2024, which does not publish gains; ours were chosen on the simulator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controlplane.model import Proposal, Situation
from controlplane.model.observation import Floats

GAIN = 0.25
"""Part of the relative error that one step takes away (integral gain x interval)."""
MOST = 0.2
"""A step moves a group by at most this part of its share."""


class Pid:
    """w <- w (1 - gain x (u - mean u) / mean u), then made to sum to 1."""

    name = "pid"

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        """One proposal for each situation; the shares in force where nothing was seen."""
        return [Proposal(shares=_stepped(one), policy=self.name) for one in situations]


def _stepped(situation: Situation) -> Floats:
    error = _error(situation)
    moved: Floats = situation.shares * (1.0 - np.clip(GAIN * error, -MOST, MOST))
    return np.asarray(moved / moved.sum(), np.float64)


def _error(situation: Situation) -> Floats:
    """(g,) how far each group is above the mean, relative to it; 0 where it is not known."""
    looked, grouping = situation.observation, situation.grouping
    look = looked.for_endpoints(grouping.endpoints)
    busy = look.utilisation if np.isfinite(look.utilisation).any() else look.in_flight
    known = np.isfinite(busy)
    count = grouping.total(known.astype(np.float64))
    total = grouping.total(np.where(known, busy, 0.0))
    if count.sum() == 0.0 or total.sum() <= 0.0:
        return np.zeros(len(grouping.names))
    mean = total.sum() / count.sum()
    per_endpoint = np.divide(total, count, out=np.full(len(count), mean), where=count > 0.0)
    return np.asarray(per_endpoint / mean - 1.0, np.float64)
