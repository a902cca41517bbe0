"""A service as it was declared: its endpoints, and how it wants to be balanced."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from controlplane.model.objective import Objective

ServiceName = NewType("ServiceName", str)
"""`namespace/name`: the name of the Envoy cluster and of its endpoint assignment."""

OF_CLASS, THEN = "#", "+"
"""In names of clusters: one for a class of a service's requests is `SERVICE#CLASS`, one that is
several, each for when the one before it fails, is `ONE+OTHER`. No name of a service has these."""

IN_PLACE = "@"
"""In the name of a part of a service: `SERVICE@PLACE`."""

EndpointId = NewType("EndpointId", str)
"""`address:port` as Envoy writes it in its stats, load reports and logs; IPv6 in brackets."""


@dataclass(frozen=True, slots=True, order=True)
class Zone:
    """Where an endpoint or a proxy is. Empty means not said."""

    region: str = ""
    zone: str = ""

    def __str__(self) -> str:
        """For people, and in names of parts.

        >>> str(Zone("eu", "eu-a")), str(Zone("eu")), str(Zone(zone="a")), str(Zone())
        ('eu:eu-a', 'eu', ':a', '*')
        """
        return f"{self.region}:{self.zone}" if self.zone else self.region or "*"


NOWHERE = Zone()
"""A place that is not known."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that serves requests."""

    address: str
    """An IP address: names are resolved by discovery before they come here."""
    port: int
    where: Zone = NOWHERE
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """As declared. `weir.dev/capacity` and `weir.dev/class` have a meaning to us."""
    draining: bool = False
    """It keeps the sessions that it has and gets no other requests."""

    def __post_init__(self) -> None:
        ipaddress.ip_address(self.address)
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port {self.port} of {self.address} is not in 1..65535")

    @property
    def id(self) -> EndpointId:
        """The name that Envoy's telemetry gives it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return EndpointId(f"{host}:{self.port}")

    @property
    def capacity(self) -> float | None:
        """The declared capacity relative to its peers (label `weir.dev/capacity`), if any."""
        text = self.labels.get("weir.dev/capacity")
        return float(text) if text is not None else None


class Actuation(StrEnum):
    """How shares become weights in Envoy."""

    AUTO = "auto"
    GROUPS = "groups"
    ENDPOINTS = "endpoints"


@dataclass(frozen=True, slots=True)
class Rollout:
    """How much of a learned policy acts: `share` of the way from its base to what it proposes."""

    mode: str = "full"
    """`shadow` (decides, changes nothing), `canary` (`percent` acts) or `full`."""
    percent: float = 100.0

    @property
    def share(self) -> float:
        """The part that acts, 0 to 1."""
        return {"shadow": 0.0, "canary": self.percent / 100.0, "full": 1.0}[self.mode]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """The bounds of the guard, for one service. The defaults are those of docs/guard.md."""

    frozen: bool = False
    """The kill switch of this service, as declared."""
    min_ratio: float = 0.2
    """An endpoint's share is at least this times its capacity share."""
    max_ratio: float = 3.0
    """An endpoint's share is at most this times its capacity share."""
    max_share: float = 0.5
    """An endpoint's share is at most the larger of this and its capacity share (n > 2)."""
    max_share_of_two: float = 0.9
    """The same where there are only two endpoints."""
    step_down: float = 0.8
    """A share shrinks at most by this factor in a step."""
    step_up: float = 1.25
    """A share grows at most by this factor in a step."""
    step_points: float = 0.10
    """A share moves by at most this in a step."""
    step_down_sick: float = 0.5
    """Instead of `step_down`, and without `step_points`, for an endpoint that is sick."""
    hold_below: float = 0.02
    """A total change (half the L1 distance) under this is not pushed."""
    requests_per_push: float = 1.0
    """Requests for each endpoint in each proxy worker between two pushes (endpoint weights)."""
    fresh_intervals: float = 2.0
    """Numbers up to this many intervals old are normal."""
    freeze_after_s: float = 30.0
    """Numbers older than fresh and up to this: nothing moves."""
    decay_until_s: float = 180.0
    """Up to this: decay to the baseline. Beyond: the baseline."""
    recover_s: float = 10.0
    """Fresh numbers for this long end a freeze that came from staleness."""
    suspect_ratio: float = 0.5
    """More than this part of the endpoints bad at once: the numbers are suspect."""
    coverage: float = 0.5
    """Numbers that cover less than this part of the endpoints or proxies are not acted on."""
    warmup_s: float = 10.0
    """A new endpoint ramps up to its share for this long."""
    crowd: float = 3.0
    """A sudden rise of the load by this factor must not flood some endpoints while others idle."""
    crowd_slack: float = 1.15
    """However high the load: a share of up to this times the capacity share is let through."""
    regroup_s: float = 10.0
    """Endpoints change their groups at most this often, unless endpoints come or go."""

    def __post_init__(self) -> None:
        for name, ordered in (
            ("minRatio <= 1 <= maxRatio", 0 <= self.min_ratio <= 1 <= self.max_ratio),
            ("0 < maxShare <= 1", 0 < self.max_share <= 1 and 0 < self.max_share_of_two <= 1),
            ("0 < stepDown <= 1 <= stepUp", 0 < self.step_down <= 1 <= self.step_up),
            ("0 < stepDownSick <= stepDown", 0 < self.step_down_sick <= self.step_down),
            ("0 <= stepPoints <= 1", 0 <= self.step_points <= 1),
            ("0 <= holdBelow <= 1", 0 <= self.hold_below <= 1),
            ("freezeAfter <= decayUntil", 0 <= self.freeze_after_s <= self.decay_until_s),
            ("crowd >= 1 and crowdSlack >= 1", self.crowd >= 1 and self.crowd_slack >= 1),
        ):
            if not ordered:
                raise ValueError(f"guard: wanted {name}")


@dataclass(frozen=True, slots=True)
class Near:
    """That the Envoys of a place send to the endpoints there first."""

    least_endpoints: int = 1
    """With fewer endpoints in all no place is told apart."""
    forced_from: int | None = None
    """A zone with this many endpoints takes all requests of the Envoys there, whatever its part of
    the capacity; None: no zone does."""
    least_time: bool = False
    """Requests go where they take least time: ways, waiting and failures are measured."""


OVERPROVISIONED_GROUPS = 100
"""Percent, of a service that is no part: an endpoint that Envoy ejects takes its part of the share
of its group along. With Envoy's 140 the rest of four would go on with the whole share."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of the endpoints of a cluster is to the others.

    Each part is balanced and guarded as a service of its own; Envoy gives out the requests among
    parts, by health and by these.
    """

    priority: int = 0
    """Requests go to the lowest that is healthy."""
    weight: int | None = None
    """Its part of the requests among those of its priority; None: it is alone there."""
    overprovisioning_factor: int = 140
    """Percent by which endpoints can take more than their share; the same in all parts."""
    where: Zone = NOWHERE
    """Where all endpoints of the part are, if `near` is given."""
    near: Near | None = None
    """The rest is for Envoys of no place that is known; those of others have an `Order`. The same
    in all parts."""
    together: bool = False
    """The endpoints of all parts of which this is said are one to Envoy, and equal: it chooses
    among them by the requests that it has in flight there. Said in an `Order`, of all or none."""


@dataclass(frozen=True, slots=True)
class Service:
    """What routes point at; an Envoy cluster."""

    name: ServiceName
    endpoints: tuple[Endpoint, ...]
    """Those that requests are shared among."""
    policy: str = "equal"
    fallback: str = "model"
    interval_s: float = 1.0
    actuation: Actuation = Actuation.AUTO
    overlay: bool = False
    """No Gateway of ours routes to it: only EDS is ours, the cluster is the Envoy's own."""
    guard: GuardSettings = GuardSettings()
    rollout: Rollout = Rollout()
    objective: Objective | None = None
    """What a learned policy is wanted for, where that was said."""
    exploration: float = 0.0
    """Standard deviation of the noise on the residual of the policy; 0: none."""
    draining: tuple[Endpoint, ...] = ()
    """Beside `endpoints`: those that have sessions alone. They have no weight."""
    part: Part | None = None
    """Where it is a part of the endpoints of a cluster."""

    @property
    def cluster(self) -> ServiceName:
        """What Envoys call it: the service that it is, or is a part of."""
        return cluster_of(self.name) if self.part is not None else self.name

    def __post_init__(self) -> None:
        ids = [endpoint.id for endpoint in (*self.endpoints, *self.draining)]
        if len(set(ids)) != len(ids):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            raise ValueError(f"{self.name}: endpoint {', '.join(twice)} is declared twice")


def cluster_of(name: ServiceName) -> ServiceName:
    """The service that a part is of, by its name; a service that is no part is of itself."""
    return ServiceName(name.partition(IN_PLACE)[0])
