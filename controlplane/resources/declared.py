"""All that is declared, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeVar, cast

from controlplane.resources.backend import Backend
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.gateway import Gateway
from controlplane.resources.grant import ReferenceGrant
from controlplane.resources.grpc_route import GrpcRoute
from controlplane.resources.kinds import Document, kind_of
from controlplane.resources.namespace import Namespace
from controlplane.resources.route import HttpRoute, RequestRoute
from controlplane.resources.route_filter import HttpRouteFilter
from controlplane.resources.secret import ConfigMap, Secret
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.stream_route import StreamRoute, TcpRoute, TlsRoute
from controlplane.resources.traffic_policy import TrafficPolicy

MODELS: tuple[type[Document], ...] = (
    Gateway,
    HttpRoute,
    GrpcRoute,
    TlsRoute,
    TcpRoute,
    HttpRouteFilter,
    ReferenceGrant,
    Namespace,
    Backend,
    BalancingPolicy,
    TrafficPolicy,
    SecurityPolicy,
    ClientPolicy,
    Secret,
    ConfigMap,
)
"""Every kind there is: a kind that is to be read is added here."""
KINDS: Mapping[str, type[Document]] = MappingProxyType({kind_of(one): one for one in MODELS})

D = TypeVar("D", bound=Document)


class ObjectKey(NamedTuple):
    """What an object is called."""

    kind: str
    name: str
    """`namespace/name`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a valid object was last read from."""

    file: str
    line: int
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Of the references in it, by field."""


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """The objects in force, by kind and `namespace/name`, each in the order of their names.

    An object that did not change from one `Declared` to the next is the same Python object in both,
    so later stages may compare with `is`.
    """

    by_kind: Mapping[str, Mapping[str, Document]] = field(default_factory=dict)
    sources: Mapping[ObjectKey, Source] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Mapping[ObjectKey, tuple[Document, Source]]) -> Declared:
        """These objects."""
        by_kind: dict[str, dict[str, Document]] = {}
        for key, (one, _) in sorted(objects.items(), key=lambda item: item[0]):
            by_kind.setdefault(key.kind, {})[key.name] = one
        return cls(by_kind, {key: source for key, (_, source) in objects.items()})

    def all(self, model: type[D]) -> Mapping[str, D]:
        """The objects of one kind."""
        return cast("Mapping[str, D]", self.by_kind.get(kind_of(model), {}))

    @property
    def gateways(self) -> Mapping[str, Gateway]:
        """The Gateways."""
        return self.all(Gateway)

    @property
    def routes(self) -> Mapping[str, HttpRoute]:
        """The HTTPRoutes."""
        return self.all(HttpRoute)

    @property
    def request_routes(self) -> tuple[RequestRoute, ...]:
        """The routes of requests: HTTPRoutes, and what GRPCRoutes become."""
        calls = self.all(GrpcRoute).values()
        return (*self.routes.values(), *(one.requests for one in calls))

    @property
    def stream_routes(self) -> tuple[StreamRoute, ...]:
        """The routes of connections."""
        return (*self.all(TlsRoute).values(), *self.all(TcpRoute).values())

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The Backends."""
        return self.all(Backend)

    @property
    def policies(self) -> Mapping[str, BalancingPolicy]:
        """The BalancingPolicies."""
        return self.all(BalancingPolicy)

    def objects(self) -> dict[ObjectKey, Document]:
        """Every object by its key."""
        return {
            ObjectKey(kind, name): one
            for kind, held in self.by_kind.items()
            for name, one in held.items()
        }
