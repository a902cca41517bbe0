"""The resource types as a table: what goes before what, and what is special about which.

A type that is not in the table is served too (rule 3 is about what a snapshot lacks, not about
what we never heard of); it has no dependencies and goes out last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from controlplane._pb.cluster_pb2 import Cluster
from controlplane.xds.references import (
    clusters_of_extension,
    clusters_of_listener,
    clusters_of_routes,
    clusters_of_scope,
    clusters_of_virtual_host,
)

_PREFIX = "type.googleapis.com/envoy."

CLUSTER = _PREFIX + "config.cluster.v3.Cluster"
ENDPOINT = _PREFIX + "config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "config.listener.v3.Listener"
ROUTE = _PREFIX + "config.route.v3.RouteConfiguration"
SCOPED_ROUTE = _PREFIX + "config.route.v3.ScopedRouteConfiguration"
VIRTUAL_HOST = _PREFIX + "config.route.v3.VirtualHost"
SECRET = _PREFIX + "extensions.transport_sockets.tls.v3.Secret"
EXTENSION = _PREFIX + "config.core.v3.TypedExtensionConfig"
RUNTIME = _PREFIX + "service.runtime.v3.Runtime"


@dataclass(frozen=True, slots=True)
class Kind:
    """What the protocol must know of one type."""

    type_url: str
    name: str
    """Short, for people and for metrics."""
    rank: int = 100
    """Lower goes out first (rule 6)."""
    whole: bool = False
    """In the state of the world every response carries the whole set (rule 13)."""
    after: tuple[str, ...] = ()
    """Not sent while one of these has news that could not be sent yet (rule 6)."""
    heeds: tuple[str, ...] = ()
    """Not sent while something of these waits for the ACK of clusters: it refers to what stands
    there by names that this server does not read."""
    removals_after: tuple[str, ...] = ()
    """A removal waits until the client has taken the current ones of these (rule 6)."""
    warms: str = ""
    """The type that is sent again when a resource of this one changes (rules 20 and 30)."""
    warmed: Callable[[str, bytes], str] | None = None
    """From a resource's name and bytes to the name of what it warms on."""
    refers: Callable[[bytes], frozenset[str]] | None = None
    """From a resource's bytes to the clusters that it sends to: it waits until the client has
    taken those that are new to it (rule 6)."""
    aliased: bool = False
    """What is asked for may be another name of a resource (`aliases`)."""
    absent: Callable[[str], bytes] | None = None
    """What stands for a resource that the snapshot lacks, so that a client need not wait."""


def assignment_of(name: str, cluster: bytes) -> str:
    """The name of a cluster's endpoint assignment: its `service_name`, or else its own.

    >>> assignment_of("web", b"not a cluster")
    'web'
    """
    try:
        return Cluster.FromString(cluster).eds_cluster_config.service_name or name
    except DecodeError:
        return name


def empty_layer(name: str) -> bytes:
    """A runtime layer that sets nothing: field 1 of Runtime is its name.

    >>> empty_layer("weir")
    b'\\n\\x04weir'
    """
    # The same shape as a cluster that has only its name, so no message of its own is needed.
    return Cluster(name=name).SerializeToString()


_TABLE = (
    Kind(
        CLUSTER,
        "cds",
        rank=0,
        whole=True,
        removals_after=(EXTENSION, LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST),
        warms=ENDPOINT,
        warmed=assignment_of,
    ),
    Kind(ENDPOINT, "eds", rank=1),
    Kind(SECRET, "sds", rank=2),
    Kind(EXTENSION, "ecds", rank=2, after=(CLUSTER,), refers=clusters_of_extension),
    Kind(LISTENER, "lds", rank=3, whole=True, after=(CLUSTER,), refers=clusters_of_listener),
    Kind(
        SCOPED_ROUTE,
        "srds",
        rank=4,
        whole=True,  # seen: Envoy drops the scopes that a response does not have
        after=(CLUSTER, LISTENER),
        refers=clusters_of_scope,
    ),
    Kind(
        ROUTE,
        "rds",
        rank=5,
        after=(CLUSTER, LISTENER, EXTENSION),
        heeds=(EXTENSION,),  # the tokens that a route wants
        refers=clusters_of_routes,
    ),
    Kind(
        VIRTUAL_HOST,
        "vhds",
        rank=6,
        after=(CLUSTER, ROUTE),
        refers=clusters_of_virtual_host,
        aliased=True,
        absent=lambda _: b"",
    ),
    Kind(RUNTIME, "rtds", rank=7, absent=empty_layer),
)
KINDS = {kind.type_url: kind for kind in _TABLE}


def kind_of(type_url: str) -> Kind:
    """The entry of the table, or a plain one for a type that is not in it."""
    return KINDS.get(type_url) or Kind(type_url, type_url.rpartition("/")[2])
