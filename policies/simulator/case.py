"""A run that is described completely: endpoints, what happens to them, clients, proxies."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from controlplane.model import (
    OVERPROVISIONED_GROUPS,
    Endpoint,
    EndpointId,
    Service,
    ServiceName,
    Zone,
)
from policies.simulator.demand import Keys, RequestClass, Traffic, Work
from policies.simulator.steps import Steps


class Algorithm(IntEnum):
    """How a balancer picks among the endpoints of a group."""

    ROUND_ROBIN = 0
    LEAST_REQUEST = 1
    """N random choices (Envoy's default, N = 2: power of two choices)."""
    FULL_SCAN = 2
    """LEAST_REQUEST that looks at all of them."""
    RANDOM = 3
    CSWRR = 4
    """Client-side weighted round robin: weights from what endpoints report over ORCA."""
    RING_HASH = 5
    MAGLEV = 6
    PEAK_EWMA = 7
    """Of two: the less latency (a moving average that jumps up to peaks) x (in flight + 1)."""
    LEAST_WORK = 8
    """Knows all queues and the work of every request, and picks where this one ends first: no data
    path can; a bound for those that can be had."""


HASHED = (Algorithm.RING_HASH, Algorithm.MAGLEV)


@dataclass(frozen=True, slots=True)
class Orca:
    """CSWRR, with Envoy's defaults (docs: client_side_weighted_round_robin.proto; gRPC A58)."""

    error_utilization_penalty: float = 1.0
    """As the documentation of both has it. Envoy 1.40 takes an unset one for 0, as a real one
    showed: it sent five of six requests to an endpoint that was a fifth as busy as the other and
    failed nine of ten."""
    blackout_s: float = 10.0
    """Reports must have come for so long before an endpoint's weight counts."""
    expiry_s: float = 180.0
    """A weight is forgotten when no report came for so long."""
    update_s: float = 1.0
    """From one set of weights to the next."""
    window_s: float = 1.0
    """Endpoints report means over a window of this length, anew after each."""


@dataclass(frozen=True, slots=True)
class Balancing:
    """The cluster's load balancing as Envoy is configured; outlier detection as Weir does it."""

    algorithm: Algorithm = Algorithm.FULL_SCAN
    choices: int = 2
    active_request_bias: float = 1.0
    """Endpoint weights that differ are divided by (in flight + 1) to this power."""
    eject_after: int = 5
    """Failures in a row at one proxy that eject an endpoint there; 0: no outlier detection."""
    eject_s: float = 15.0
    """The first ejection; each further one is longer by as much, up to `eject_longest_s`."""
    eject_longest_s: float = 150.0
    eject_most: float = 0.5
    """Part of the endpoints that may be ejected."""
    eject_interval_s: float = 2.0
    """Endpoints come back, and success rates are compared, at multiples of this."""
    success_rate_factor: float = 1.9
    """Ejected, too: a success rate this many standard deviations below the mean; 0: never."""
    success_rate_hosts: int = 5
    success_rate_requests: int = 100
    """Endpoints, and requests of each in an interval, without which success rates say nothing."""
    panic_below: float = 0.5
    """Part of the endpoints of a priority below which health is not believed there."""
    overprovisioning: float = OVERPROVISIONED_GROUPS / 100.0
    """A priority or a locality keeps all of its traffic while its healthy part times this is 1. As
    Weir sends it for groups; Envoy's own default is 1.4."""
    orca: Orca = field(default_factory=Orca)
    peak_decay_s: float = 10.0
    """How fast Peak EWMA forgets (Finagle's and Envoy's default)."""
    peak_default_s: float = 0.03
    """What Peak EWMA takes for the latency of an endpoint that it knows nothing of."""
    ring_size: int = 1024
    """RING_HASH: least entries of the ring."""
    table_size: int = 65537
    """MAGLEV: entries of the table, a prime."""


@dataclass(frozen=True, slots=True)
class Station:
    """One endpoint: workers behind one queue, first come, first served, or shared by all."""

    workers: int = 4
    speed: Steps = field(default_factory=lambda: Steps.of(1.0))
    """Work done per second by each worker; 0 is a pause. The last step is above 0."""
    fails: Steps = field(default_factory=lambda: Steps.of(0.0))
    """Part of the requests that fail."""
    fail_work: float = 1.0
    """Part of its work that a failing request costs."""
    joins_s: float = 0.0
    """When it is added to the service."""
    sharing: bool = False
    """Processor sharing: with more requests than workers each gets an equal part of them."""
    cold: float = 1.0
    """What the first request costs, as a multiple of its work, while caches are cold."""
    warm_after: float = 200.0
    """Requests after which that surplus is down to 1/e of it."""
    region: int = 0
    """Index in `Case.regions`."""
    priority: int = 0
    """Envoy's priority: 0 first, and the next as far as those before it cannot."""
    price: float = 1.0
    """Of a worker that is busy for a second. Nothing in a run goes by it; objectives do."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.speed.value[-1] <= 0.0:
            raise ValueError("an endpoint has a worker, and ends with a speed above 0")
        if self.cold < 1.0 or self.warm_after <= 0.0:
            raise ValueError("a cold cache costs at least what a warm one does, and warms up")
        if not 0.0 <= self.price < np.inf:
            raise ValueError("a price is a number of at least 0")


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
    loss: float = 0.0
    """Part of the reports (one of each proxy for each window) that never arrive."""
    delay_s: float = 0.25
    """From the end of a window to new weights in force."""
    telemetry_noise: float = 0.02
    """Relative error of what endpoints say of their utilisation."""
    orca: bool = False
    """Whether endpoints say how busy they are."""
    classes: tuple[RequestClass, ...] = (RequestClass(),)
    class_by_region: bool = False
    """Whether the requests of each region are a class, instead of each by chance: as where regions
    stand for services on the same machines (`policies.simulator.tenants`)."""
    keys: Keys = field(default_factory=Keys)
    """What RING_HASH and MAGLEV hash."""
    regions: tuple[str, ...] = ("",)
    proxy_regions: tuple[int, ...] = ()
    """(proxies,) where each proxy is; empty: the first region."""
    region_traffic: tuple[float, ...] = ()
    """(regions,) parts of the traffic that arrive there; empty: every proxy gets the same."""
    network_s: tuple[tuple[float, ...], ...] = ((0.0,),)
    """(regions, regions) one way from a proxy of the first index to an endpoint of the second."""

    def __post_init__(self) -> None:
        r = len(self.regions)
        where = [*self.proxy_regions, *(s.region for s in self.stations)]
        if self.proxy_regions and len(self.proxy_regions) != self.proxies:
            raise ValueError("wanted the region of every proxy, or of none")
        if any(not 0 <= one < r for one in where):
            raise ValueError(f"{self.name}: a region is an index below {r}")
        if len(self.network_s) != r or any(len(row) != r for row in self.network_s):
            raise ValueError(f"{self.name}: wanted {r} x {r} latencies between regions")
        if self.region_traffic and (
            len(self.region_traffic) != r or set(self.proxies_of) != set(range(r))
        ):
            raise ValueError(f"{self.name}: traffic by region wants a part, and a proxy, in each")
        if max(map(max, self.network_s)) >= self.timeout_s:
            raise ValueError(f"{self.name}: requests time out on their way")
        parts = tuple(one.part for one in self.classes)
        if abs(sum(parts) - 1.0) > 1e-9:
            raise ValueError(f"{self.name}: the parts of the classes sum to 1")
        if self.class_by_region and parts != self.region_traffic:
            raise ValueError(f"{self.name}: each class has the part of its region's traffic")

    @property
    def proxies_of(self) -> tuple[int, ...]:
        """(proxies,) the region of each."""
        return self.proxy_regions or (0,) * self.proxies

    @property
    def mean_work_s(self) -> float:
        """The mean work of a request, over all classes."""
        return self.work.mean_s * sum(one.part * one.work for one in self.classes)

    @property
    def capacity_rps(self) -> float:
        """What all endpoints complete together at the start, when busy all the time."""
        return sum(s.workers * s.speed.value[0] for s in self.stations) / self.mean_work_s

    def service(self, at_s: float = 0.0, *, policy: str = "model") -> Service:
        """The service as it is declared at a time."""
        zones = [Zone(region) for region in self.regions]
        endpoints = tuple(
            Endpoint(f"10.0.{i // 256}.{i % 256}", 8080, zones[station.region])
            for i, station in enumerate(self.stations)
            if station.joins_s <= at_s
        )
        return Service(ServiceName(f"simulated/{self.name}"), endpoints, policy=policy)

    def present(self, at_s: float) -> NDArray[np.intp]:
        """Which stations the service has at a time."""
        return np.array([i for i, s in enumerate(self.stations) if s.joins_s <= at_s], np.intp)


def endpoint_id(station: int) -> EndpointId:
    """The name of a station in telemetry."""
    return EndpointId(f"10.0.{station // 256}.{station % 256}:8080")


def station_of(endpoint: EndpointId) -> int:
    """The station that has this name."""
    parts = endpoint.partition(":")[0].split(".")
    return int(parts[2]) * 256 + int(parts[3])
