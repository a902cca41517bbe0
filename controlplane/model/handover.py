"""How a service stands, as the replica that decides hands it to those that may have to go on."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.model.estimate import Estimate
from controlplane.model.last_good import LastGood
from controlplane.model.observation import Floats
from controlplane.model.service import ServiceName
from controlplane.model.weights import Grouping, Reason


@dataclass(frozen=True, slots=True, eq=False)
class Handover:
    """What is in force for one service, and what deciding goes on from.

    Times are on the clock of whoever holds it; between replicas they travel as ages, since clocks
    of two machines are not compared.
    """

    last: LastGood
    """In force, with the orders of its places."""
    first_seen_s: Floats
    """(n,) when each endpoint of `last.grouping` came; minus infinity: from the start."""
    pushed_s: float
    """When what is in force last changed."""
    regrouped_s: float
    """When endpoints last changed their groups."""
    estimate: Estimate
    """What is believed of its endpoints, which need not be in the order of the groups."""
    wanted: Grouping
    """The groups that are decided on; the guard may hold others in force for a while."""
    wanted_since_s: float
    seen_enough: bool
    """Whether a proxy sees enough of the traffic for a single group."""
    reasons: tuple[Reason, ...] = ()
    """Why it is as it is."""

    def __post_init__(self) -> None:
        if self.first_seen_s.shape != (len(self.last.grouping.endpoints),):
            raise ValueError(f"{self.service}: one time of arrival for each endpoint is wanted")

    @property
    def service(self) -> ServiceName:
        """Its name."""
        return self.last.service
