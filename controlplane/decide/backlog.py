"""What a queue that stands takes of a group's capacity: work that is there is done first.

An optimal split knows rates alone. A group whose capacity was believed a few percent too high, as
while it turns slow, has by then a queue that the right share does not take away, and near full load
nothing else does. So what is in flight beyond what it should be is taken for a demand of its own,
to be served within `DRAIN_S`.
"""

from __future__ import annotations

import numpy as np

from controlplane.decide.stations import Stations
from controlplane.model.observation import Floats
from controlplane.model.queues import queueing

DRAIN_S = 2.0
"""A backlog should be gone after so long: a look, the delay of a push and a step of the guard. At 1
the analytic split gained as much again and a policy that was trained without lost as much."""
MOST = 0.5
"""Part of its capacity that a backlog takes of a group at most."""
NOISE = 1.0
"""Standard deviations of a count at an instant that prove nothing."""


def left(stations: Stations, demand: Floats, full: float) -> Floats:
    """(services, groups) capacity for requests to come; `demand` (services,) in requests/s.

    What should be in flight is what a station of so many servers has at this load, and no less
    than the group's part, by capacity, of what is in flight at all: a queue that all have alike is
    too much demand, which no split takes away.
    """
    total = stations.capacity.sum(axis=1, keepdims=True)
    load = np.minimum(demand[:, None] / total, full)
    servers = np.maximum(stations.servers, 1.0)
    alone = servers * load * (1.0 + queueing(load, servers))
    alike = stations.in_flight.sum(axis=1, keepdims=True) * stations.capacity / total
    usual = np.fmax(alone, alike)
    backlog = stations.in_flight - usual - NOISE * np.sqrt(usual)
    taken = np.minimum(np.fmax(backlog, 0.0) / DRAIN_S, MOST * stations.capacity)
    return np.where(stations.known[:, None], stations.capacity - taken, stations.capacity)
