"""What is believed of the endpoints of a service, carried from tick to tick."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controlplane.model.observation import Floats, Observation
from controlplane.model.service import EndpointId


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Beliefs about each endpoint, (n,) in the order of `endpoints`; NaN where nothing is known."""

    endpoints: tuple[EndpointId, ...]
    at_s: float
    capacity_rps: Floats
    """Requests per second that the endpoint could complete when busy all the time."""

    @classmethod
    def unknown(cls, endpoints: tuple[EndpointId, ...]) -> Estimate:
        """Nothing is known yet."""
        return cls(endpoints, -np.inf, np.full(len(endpoints), np.nan))

    def fold(self, observation: Observation) -> Estimate:
        """The belief after one more look. Endpoints are those of the observation."""
        raise NotImplementedError
