"""The values that flow through the control plane, and arithmetic on them.

No I/O, no clock, no randomness. Everything is frozen and valid by construction; a stage receives
values and returns new ones. Where there are many of a thing there are numpy arrays, float64, in
the order of the `endpoints` (or the groups) that stand beside them; NaN means unknown, never zero.
Units are in the names: `_s` seconds, `_rps` requests per second.
"""

from controlplane.model.estimate import Estimate
from controlplane.model.fleets import OVERLAY, fleet_of
from controlplane.model.handover import Handover
from controlplane.model.health import Health
from controlplane.model.last_good import LastGood
from controlplane.model.leader import Leader
from controlplane.model.observation import Observation
from controlplane.model.places import Order, Orders, nearest, places_of
from controlplane.model.proxy import Proxy, ProxyId, ProxyKey
from controlplane.model.service import (
    IN_PLACE,
    NOWHERE,
    OF_CLASS,
    OVERPROVISIONED_GROUPS,
    THEN,
    Actuation,
    Endpoint,
    EndpointId,
    GuardSettings,
    Near,
    Part,
    Rollout,
    Service,
    ServiceName,
    Zone,
    cluster_of,
)
from controlplane.model.snapshot import Snapshot
from controlplane.model.weights import (
    Explored,
    Grouping,
    Proposal,
    Reason,
    Situation,
    Verdict,
    Weights,
)

__all__ = [
    "IN_PLACE",
    "NOWHERE",
    "OF_CLASS",
    "OVERLAY",
    "OVERPROVISIONED_GROUPS",
    "THEN",
    "Actuation",
    "Endpoint",
    "EndpointId",
    "Estimate",
    "Explored",
    "Grouping",
    "GuardSettings",
    "Handover",
    "Health",
    "LastGood",
    "Leader",
    "Near",
    "Observation",
    "Order",
    "Orders",
    "Part",
    "Proposal",
    "Proxy",
    "ProxyId",
    "ProxyKey",
    "Reason",
    "Rollout",
    "Service",
    "ServiceName",
    "Situation",
    "Snapshot",
    "Verdict",
    "Weights",
    "Zone",
    "cluster_of",
    "fleet_of",
    "nearest",
    "places_of",
]
