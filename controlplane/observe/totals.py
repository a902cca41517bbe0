"""What was counted for one service since it was declared, one column for each endpoint.

The two receivers append to plain lists, the cheapest thing there is; `fold` adds them to the arrays
when somebody looks, or when a list has grown long.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from controlplane.model import NOWHERE, EndpointId, ProxyKey, Service, Zone, nearest, places_of
from controlplane.model.observation import Floats
from controlplane.observe.members import Member
from controlplane.observe.quantiles import Bins, Ints

T = TypeVar("T", bound=np.generic)

PENDING = 16_384
"""Numbers that wait in a list before they are folded, whoever looks."""
MOST_BINS = 65_536
"""Bins of a service that are kept while nobody looks at it."""
LATENCY_BOUNDS_S = tuple(0.001 * (11 / 9) ** k for k in range(56))
"""Upper bounds of the exposed latency histogram, 1 ms to 62 s: each 2/9 above the one before, so
that the middle of a bucket is within 10 % of whatever fell into it."""


class Field(IntEnum):
    """The rows of the counted numbers."""

    SUCCEEDED = 0
    FAILED = 1
    ISSUED = 2
    IN_FLIGHT_S = 3
    """Requests in progress at each report, times the seconds that it covers."""
    UTILISATION = 4
    """Sum of what the endpoints said of themselves, over the requests that carried it."""
    UTILISATION_SAMPLES = 5
    LATENCY_S = 6
    LATENCY_SAMPLES = 7


REPORT_WIDTH = 7
"""A load report of an endpoint: its slot, and the first six fields."""


class Totals:
    """Running sums of one service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.endpoints: tuple[EndpointId, ...] = ()
        self.slots: dict[tuple[str, int], int] = {}
        """(address, port) as Envoy writes them -> column."""
        self.counted: Floats = np.zeros((len(Field), 0))
        self.buckets = np.zeros((len(LATENCY_BOUNDS_S) + 1, 0), np.uint32)
        """(buckets, n) latencies by LATENCY_BOUNDS_S."""
        self.logged_at_s: Floats = np.zeros(0)
        """(n,) the newest access log entry of each endpoint."""
        self.reported_s = 0.0
        """Seconds that load reports covered, summed over the proxies."""
        self.reported_at_s = -np.inf
        self.newest_s = -np.inf
        """When the newest number of any kind came."""
        self.ended_at: dict[Zone, float] = {}
        """Requests by the place of the Envoys, of load reports; at most one more than places."""
        self.timed_at: dict[Zone, Floats] = {}
        """(2, n) sums of latencies and how many, by the place of the Envoys; empty where all
        endpoints are in one zone."""
        self.sticky = 0
        """Of the latencies: those of requests that a session led."""
        self._places: frozenset[Zone] = frozenset()
        self._apart = False
        self.members: dict[ProxyKey, Member] = {}
        self.bins = Bins.empty()
        """Latencies since `take_bins`."""
        self.reports: list[float] = []
        """REPORT_WIDTH numbers for each endpoint of each load report."""
        self.latency_slots: list[int] = []
        self.latencies_s: list[float] = []
        self._runs: list[tuple[Zone, int, int]] = []
        """Whose the latencies in the lists are: place, from, up to."""
        self.ended: list[tuple[int, float, float]] = []
        """(slot, succeeded, failed) from access logs of proxies without load reports."""
        self.declare(service)

    def declare(self, service: Service) -> Ints | None:
        """Take the endpoints of the service as they are now; those that stay keep their sums.

        Returns where each old column went (-1: it is gone), or None when none moved.
        """
        self.fold()  # what waits is of the places that were
        self.service = service
        self._places = places_of(service.endpoints)
        self._apart = len({endpoint.where for endpoint in service.endpoints}) > 1
        kept = {*self._places, NOWHERE}
        self.ended_at = {w: n for w, n in self.ended_at.items() if w in kept}
        self.timed_at = {w: rows for w, rows in self.timed_at.items() if w in kept}
        endpoints = tuple(endpoint.id for endpoint in service.endpoints)
        if endpoints == self.endpoints:
            return None
        now_at = {endpoint: i for i, endpoint in enumerate(endpoints)}
        moves = np.array([now_at.get(old, -1) for old in self.endpoints], dtype=np.int64)
        self.counted = moved(self.counted, moves, len(endpoints), 0.0)
        self.buckets = moved(self.buckets, moves, len(endpoints), 0)
        self.logged_at_s = moved(self.logged_at_s[None], moves, len(endpoints), -np.inf)[0]
        self.bins = self.bins.moved(moves)
        self.timed_at = {
            where: moved(rows, moves, len(endpoints), 0.0) for where, rows in self.timed_at.items()
        }
        self.endpoints = endpoints
        self.slots = {
            (str(ipaddress.ip_address(endpoint.address)), endpoint.port): i
            for i, endpoint in enumerate(service.endpoints)
        }
        return moves

    def count_at(self, where: Zone, requests: float) -> None:
        """So many ended at an Envoy that is there."""
        place = nearest(where, self._places) or NOWHERE
        self.ended_at[place] = self.ended_at.get(place, 0.0) + requests

    def timed_from(self, where: Zone) -> None:
        """The latencies since the last call are of an Envoy that is there."""
        begin = self._runs[-1][2] if self._runs else 0
        if self._apart and len(self.latencies_s) > begin:
            place = nearest(where, self._places) or NOWHERE
            self._runs.append((place, begin, len(self.latencies_s)))

    def fold(self) -> None:
        """Add what waits in the lists to the arrays."""
        if self.reports:
            flat = np.array(self.reports).reshape(-1, REPORT_WIDTH)
            self.reports.clear()
            slots = flat[:, 0].astype(np.intp)
            for field in range(REPORT_WIDTH - 1):
                self._add(Field(field), slots, flat[:, field + 1])
        if self.ended:
            flat = np.array(self.ended)
            self.ended.clear()
            slots = flat[:, 0].astype(np.intp)
            self._add(Field.SUCCEEDED, slots, flat[:, 1])
            self._add(Field.FAILED, slots, flat[:, 2])
        if self.latencies_s:
            slots = np.array(self.latency_slots, dtype=np.int64)
            values = np.array(self.latencies_s)
            self._fold_runs(slots, values)
            self.latency_slots.clear()
            self.latencies_s.clear()
            self._add(Field.LATENCY_S, slots, values)
            self._add(Field.LATENCY_SAMPLES, slots, np.ones(len(slots)))
            np.add.at(self.buckets, (np.searchsorted(LATENCY_BOUNDS_S, values), slots), 1)
            kept = self.bins if len(self.bins.codes) < MOST_BINS else Bins.empty()
            self.bins = Bins.merged((kept, Bins.of(slots, values)))

    def _fold_runs(self, slots: Ints, values: Floats) -> None:
        n = len(self.endpoints)
        for place, begin, end in self._runs:
            rows = self.timed_at.setdefault(place, np.zeros((2, n)))
            rows[0] += np.bincount(slots[begin:end], values[begin:end], minlength=n)
            rows[1] += np.bincount(slots[begin:end], minlength=n)
        self._runs.clear()

    def fold_if_long(self) -> None:
        """Bound the lists when nobody looks."""
        waiting = len(self.latencies_s) + len(self.ended) + len(self.reports) // REPORT_WIDTH
        if waiting > PENDING:
            self.fold()

    def take_bins(self) -> Bins:
        """The latencies since the last time; call `fold` first."""
        bins, self.bins = self.bins, Bins.empty()
        return bins

    def member(self, proxy: ProxyKey, workers: int) -> Member:
        """The proxy as a member of this service."""
        member = self.members.get(proxy)
        if member is None:
            member = self.members[proxy] = Member(workers)
        member.workers = workers
        return member

    def _add(self, field: Field, slots: Sequence[int] | Ints, values: Floats) -> None:
        self.counted[field] += np.bincount(slots, values, minlength=len(self.endpoints))


def moved(rows: NDArray[T], moves: Ints, columns: int, empty: float) -> NDArray[T]:
    """Columns put where `moves` says; `empty` in those that are new."""
    out = np.full((rows.shape[0], columns), empty, rows.dtype)
    kept = moves >= 0
    out[:, moves[kept]] = rows[:, kept]
    return out
