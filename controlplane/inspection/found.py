"""One resource as it was found, at an Envoy or at Weir, and the types that are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from controlplane.inspection.canonical import Json

_ENVOY = "type.googleapis.com/envoy."
TYPE_URLS: Mapping[str, str] = {
    "cds": _ENVOY + "config.cluster.v3.Cluster",
    "eds": _ENVOY + "config.endpoint.v3.ClusterLoadAssignment",
    "lds": _ENVOY + "config.listener.v3.Listener",
    "rds": _ENVOY + "config.route.v3.RouteConfiguration",
    "vhds": _ENVOY + "config.route.v3.VirtualHost",
    "srds": _ENVOY + "config.route.v3.ScopedRouteConfiguration",
    "ecds": _ENVOY + "config.core.v3.TypedExtensionConfig",
    "sds": _ENVOY + "extensions.transport_sockets.tls.v3.Secret",
    "rtds": _ENVOY + "service.runtime.v3.Runtime",
}
"""By the short names that Weir gives them everywhere."""


class Place(StrEnum):
    """Where in an Envoy a resource stands."""

    ACTIVE = "active"
    """In force, and it came over xDS."""
    WARMING = "warming"
    """Taken, and not in force until what it needs is there."""
    DRAINING = "draining"
    STATIC = "static"
    """From the bootstrap."""


@dataclass(frozen=True, slots=True)
class Found:
    """A resource. `body` is canonical JSON; None where it is not known, and `why` says why."""

    name: str
    body: Json | None
    version: str = ""
    place: Place = Place.ACTIVE
    why: str = ""
    refused: str = ""
    """The message with which Envoy refused the next version of it, where its pages say so."""


@dataclass(frozen=True, slots=True)
class Running:
    """What an Envoy runs, by the short names of the types."""

    node: str
    fleet: str
    """Its `node.cluster`."""
    bootstrap: Json
    types: Mapping[str, tuple[Found, ...]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Intended:
    """What an Envoy should run of one type."""

    version: str
    everything: bool
    """Whether it asked for all there is."""
    asked: frozenset[str] = frozenset()
    """The names that it asked for."""
    resources: tuple[Found, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    """How far each has come on its way, in Weir's words, by name."""
