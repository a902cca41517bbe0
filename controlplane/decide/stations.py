"""Situations as queueing stations: groups of many services in one padded table.

A group is a station: so much capacity, so many servers, a service time. What is not known is
taken from the peers, then from what was declared, then all are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.model import Situation
from controlplane.model.folding import (
    CAPACITY,
    DECLARED,
    ERRORS,
    SERVICE,
    Segments,
    busier,
)
from controlplane.model.observation import Floats

ERRORS_IGNORED = 0.02
"""An endpoint that fails this much more than its service is not yet called worse."""
LEAST_SUCCESS = 0.1
"""Errors take at most this much of a capacity away: the rest is what the guard's floor is for."""


@dataclass(frozen=True, slots=True, eq=False)
class Stations:
    """Padded to (services, most groups); where `real` is False nothing stands."""

    real: NDArray[np.bool_]
    size: Floats
    """Endpoints in the group."""
    capacity: Floats
    """Requests per second that the group can end well; relative where `known` is False."""
    base_s: Floats
    """Seconds that a request takes when it does not wait."""
    servers: Floats
    """Requests that the group works on at once."""
    in_flight: Floats
    """Requests that it has, at the last look; 0 where that is unknown."""
    busier: Floats
    """(services,) the load to expect, over what `capacity` makes of the demand: at least 1."""
    known: NDArray[np.bool_]
    """(services,) whether capacities are requests per second, or only relative."""

    def rows(self, shares: Floats) -> list[Floats]:
        """Each service's shares, (g,), out of a padded table."""
        counts = self.real.sum(axis=1).tolist()
        return [row[:count] for row, count in zip(shares, counts, strict=True)]

    @classmethod
    def of(cls, situations: Sequence[Situation]) -> Stations:
        """Gather the stations of these situations. None of the services may be empty."""
        seg = Segments.from_sizes(
            np.array([len(s.grouping.endpoints) for s in situations], dtype=np.intp)
        )
        groups = np.array([len(s.grouping.names) for s in situations], dtype=np.intp)
        offset = np.concatenate([[0], np.cumsum(groups)])
        table = np.concatenate([s.estimate.table for s in situations], axis=1)
        shared = np.stack([s.estimate.shared for s in situations], axis=1)
        there = np.nan_to_num(np.concatenate([s.observation.in_flight for s in situations]))
        index = np.concatenate([s.grouping.index for s in situations]) + offset[seg.of]
        with np.errstate(all="ignore"):
            capacity, base_s, known = _endpoints(table, seg)
        total = int(offset[-1])
        size = np.bincount(index, minlength=total).astype(np.float64)
        group_capacity = np.bincount(index, weights=capacity, minlength=total).astype(np.float64)
        servers = np.bincount(index, weights=capacity * base_s, minlength=total).astype(np.float64)
        row = np.repeat(np.arange(len(situations)), groups)
        at = (row, np.arange(total) - offset[row])

        def padded(flat: Floats, fill: float) -> Floats:
            out = np.full((len(situations), int(groups.max())), fill)
            out[at] = flat
            return out

        return cls(
            real=padded(np.ones(total), 0.0) > 0,
            size=padded(size, 0.0),
            capacity=padded(group_capacity, 0.0),
            base_s=padded(servers / group_capacity, 1.0),
            servers=padded(servers, 1.0),
            in_flight=padded(
                np.bincount(index, weights=there, minlength=total).astype(np.float64), 0.0
            ),
            busier=busier(table, shared, seg),
            known=known,
        )


def _endpoints(table: Floats, seg: Segments) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Capacity and service time of each endpoint with nothing missing, and where they are real."""
    estimated = table[CAPACITY]
    known = np.isfinite(seg.mean(estimated))
    declared = np.where(table[DECLARED] > 0, table[DECLARED], np.nan)
    declared = _filled(declared, seg, 1.0)
    capacity = np.where(known[seg.of], _filled(estimated, seg, 1.0), declared)
    errors = np.nan_to_num(table[ERRORS])
    worse = np.maximum(0.0, errors - seg.mean(errors)[seg.of] - ERRORS_IGNORED)
    capacity = capacity * np.maximum(LEAST_SUCCESS, 1.0 - worse)
    base_s = np.exp(_filled(table[SERVICE], seg, 0.0))
    return capacity, base_s, known


def _filled(values: Floats, seg: Segments, otherwise: float) -> Floats:
    mean = seg.mean(values)
    mean = np.where(np.isfinite(mean), mean, otherwise)
    return np.where(np.isfinite(values), values, mean[seg.of])
