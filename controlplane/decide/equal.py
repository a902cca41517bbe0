"""`equal`: every endpoint gets the same. What is done when nothing is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controlplane.model import Proposal, Situation


class Equal:
    """A group's share is its part of the endpoints."""

    name = "equal"

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        """One proposal for each situation."""
        return [self._one(situation) for situation in situations]

    def _one(self, situation: Situation) -> Proposal:
        sizes = situation.grouping.sizes.astype(np.float64)
        return Proposal(shares=sizes / max(sizes.sum(), 1.0), policy=self.name)
