"""`capacity`: in proportion to what each can do. Right at full load, cautious at any other."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.decide.stations import Stations
from controlplane.model import Proposal, Situation


class Capacity:
    """A group's share is its part of the capacity, estimated or else declared."""

    name = "capacity"

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        """One proposal for each situation."""
        if not situations:
            return []
        stations = Stations.of(situations)
        shares = stations.capacity / stations.capacity.sum(axis=1, keepdims=True)
        return [Proposal(shares=row, policy=self.name) for row in stations.rows(shares)]
