"""A run that is described completely: endpoints, what happens to them, clients, proxies."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from controlplane.model import Endpoint, EndpointId, Service, ServiceName
from policies.simulator.demand import Traffic, Work
from policies.simulator.steps import Steps


class Algorithm(IntEnum):
    """How a balancer picks among the endpoints of a group."""

    ROUND_ROBIN = 0
    LEAST_REQUEST = 1
    """N random choices (Envoy's default, N = 2: power of two choices)."""
    FULL_SCAN = 2
    """LEAST_REQUEST that looks at all of them."""


@dataclass(frozen=True, slots=True)
class Balancing:
    """The cluster's load balancing as Envoy is configured."""

    algorithm: Algorithm = Algorithm.FULL_SCAN
    choices: int = 2
    active_request_bias: float = 1.0
    eject_after: int = 5
    """Failures in a row at one proxy that eject an endpoint there; 0: never."""
    eject_s: float = 30.0
    eject_most: float = 0.5


@dataclass(frozen=True, slots=True)
class Station:
    """One endpoint: workers behind one queue, first come, first served."""

    workers: int = 4
    speed: Steps = field(default_factory=lambda: Steps.of(1.0))
    """Work done per second by each worker. The last step is above 0."""
    fails: Steps = field(default_factory=lambda: Steps.of(0.0))
    """Part of the requests that fail."""
    fail_work: float = 1.0
    """Part of its work that a failing request costs."""
    joins_s: float = 0.0
    """When it is added to the service."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.speed.value[-1] <= 0.0:
            raise ValueError("an endpoint has a worker, and ends with a speed above 0")


@dataclass(frozen=True, slots=True)
class Case:
    """Everything about a run except the weights."""

    name: str
    stations: tuple[Station, ...]
    traffic: Traffic
    work: Work = field(default_factory=Work)
    proxies: int = 4
    workers_per_proxy: int = 1
    duration_s: float = 40.0
    balancing: Balancing = field(default_factory=Balancing)
    timeout_s: float = 15.0
    queue_limit: int = 1024
    """Requests at one endpoint above which it answers 503 at once."""
    sampling: float = 1.0
    """Part of the requests whose latency is seen (access logs)."""
    delay_s: float = 0.25
    """From the end of a window to new weights in force."""
    telemetry_noise: float = 0.02
    """Relative error of what endpoints say of their utilisation."""
    orca: bool = False
    """Whether endpoints say how busy they are."""

    @property
    def capacity_rps(self) -> float:
        """What all endpoints complete together at the start, when busy all the time."""
        return sum(s.workers * s.speed.value[0] for s in self.stations) / self.work.mean_s

    def service(self, at_s: float = 0.0, *, policy: str = "model") -> Service:
        """The service as it is declared at a time."""
        endpoints = tuple(
            Endpoint(f"10.0.{i // 256}.{i % 256}", 8080)
            for i, station in enumerate(self.stations)
            if station.joins_s <= at_s
        )
        return Service(ServiceName(f"simulated/{self.name}"), endpoints, policy=policy)

    def present(self, at_s: float) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Which stations the service has at a time."""
        return np.array([i for i, s in enumerate(self.stations) if s.joins_s <= at_s], np.intp)


def endpoint_id(station: int) -> EndpointId:
    """The name of a station in telemetry."""
    return EndpointId(f"10.0.{station // 256}.{station % 256}:8080")


def station_of(endpoint: EndpointId) -> int:
    """The station that has this name."""
    parts = endpoint.partition(":")[0].split(".")
    return int(parts[2]) * 256 + int(parts[3])
