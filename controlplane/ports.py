"""The doors of the loop, one method each. Their fakes live in `tests/fakes.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from controlplane.model import (
    Endpoint,
    Health,
    LastGood,
    Observation,
    Proposal,
    Proxy,
    Service,
    ServiceName,
    Situation,
    Snapshot,
)
from controlplane.model.attribution import Attribution
from controlplane.model.decisions import Decision
from controlplane.model.observation import Floats


class MetricSource(Protocol):
    """Where observations come from."""

    async def observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        """Look at these services. A service nothing is known of is absent from the answer.

        Raises `MetricsUnavailableError` when the source itself cannot answer, rather than invent
        numbers. The caller sets the deadline.
        """
        ...


class WeightPolicy(Protocol):
    """What decides. Pure: the same situations give the same proposals."""

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        """One proposal for each situation, in order. Nothing is sent before the guard saw it."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A policy that can share out what it did among what it saw. Few can; they need not."""

    def attribute(self, situation: Situation, base: Floats) -> Attribution:
        """What each feature did to log(wanted share / (g,) base share) of each group.

        Bounded in time. Raises `NotExplainableError` where there is nothing to share out.
        """
        ...


class SnapshotSink(Protocol):
    """Where a finished snapshot goes."""

    def publish(self, snapshot: Snapshot) -> None:
        """Make this what every Envoy of the fleet converges to. Never blocks."""
        ...


class EndpointSource(Protocol):
    """Where endpoints come from."""

    def watch(self) -> AsyncIterator[Mapping[ServiceName, tuple[Endpoint, ...]]]:
        """Yield the complete sets each time they change; first when they are complete."""
        ...


class StateStore(Protocol):
    """Where the last good state of each service outlives the process."""

    async def load(self) -> Mapping[ServiceName, LastGood]:
        """All that was stored. Raises `StoreError`; the caller sets the deadline."""
        ...

    async def save(self, states: Sequence[LastGood]) -> None:
        """Store these together or not at all. Raises `StoreError`; the caller sets the deadline."""
        ...


class DecisionSink(Protocol):
    """Where decisions go that are to be learned from."""

    def put(self, decisions: Sequence[Decision]) -> None:
        """Take these. Never blocks, never fails."""
        ...


class AccessLogSink(Protocol):
    """Where the access logs of the Envoys go: from `xds` to `observe`."""

    def on_access_logs(self, proxy: Proxy, message: bytes) -> None:
        """Take one serialised StreamAccessLogsMessage. Never blocks.

        Raises `TelemetryError` when it cannot be read; the caller ends that stream.
        """
        ...


class LoadReportSink(Protocol):
    """Where the load reports of the Envoys go: from `xds` to `observe`."""

    def on_load_report(self, proxy: Proxy, message: bytes, *, first: bool) -> None:
        """Take one serialised LoadStatsRequest, `first` of its stream or not. Never blocks.

        Raises `TelemetryError` when it cannot be read; the caller ends that stream.
        """
        ...


class RateLimiter(Protocol):
    """Who decides about requests that are limited: from `xds` to `limits`."""

    async def decide(self, request: bytes) -> bytes:
        """Answer one serialised RateLimitRequest by a RateLimitResponse.

        Raises `RateLimitError` when it cannot be read, and another `WeirError` when nobody can
        decide; the Envoy then does as its filter says.
        """
        ...


class HealthVerdict(Protocol):
    """Who says whether Envoys that got something new are well."""

    async def __call__(self, fleet: str, nodes: Sequence[str], since_s: float) -> Health:
        """One look at these nodes, which all have it since then on the monotonic clock.

        The caller sets the deadline, and takes an error as UNKNOWN.
        """
        ...
