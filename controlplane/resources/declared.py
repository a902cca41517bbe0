"""All that is declared, as one frozen value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, TypeVar, cast

from controlplane.resources.backend import Backend
from controlplane.resources.backend_tls import BackendTlsPolicy
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.envoy_patch import EnvoyPatch
from controlplane.resources.gateway import Gateway
from controlplane.resources.gateway_class import GatewayClass
from controlplane.resources.grant import ReferenceGrant
from controlplane.resources.grpc_route import GrpcRoute
from controlplane.resources.kinds import Document, kind_of
from controlplane.resources.namespace import Namespace
from controlplane.resources.route import HttpRoute, RequestRoute, Route
from controlplane.resources.route_filter import HttpRouteFilter
from controlplane.resources.secret import ConfigMap, Secret
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.service import EndpointSlice, Node, Service
from controlplane.resources.stream_route import StreamRoute, TcpRoute, TlsRoute, UdpRoute
from controlplane.resources.target import Target
from controlplane.resources.traffic_policy import TrafficPolicy

MODELS: tuple[type[Document], ...] = (
    GatewayClass,
    Gateway,
    HttpRoute,
    GrpcRoute,
    TlsRoute,
    TcpRoute,
    UdpRoute,
    HttpRouteFilter,
    ReferenceGrant,
    Namespace,
    Backend,
    BalancingPolicy,
    TrafficPolicy,
    SecurityPolicy,
    ClientPolicy,
    BackendTlsPolicy,
    EnvoyPatch,
    Secret,
    ConfigMap,
    Service,
    EndpointSlice,
    Node,
)
"""Every kind there is: a kind that is to be read is added here."""
KINDS: Mapping[str, type[Document]] = MappingProxyType({kind_of(one): one for one in MODELS})

D = TypeVar("D", bound=Document)
T = TypeVar("T")

_ROUTES = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
_BEHIND_BACKENDS = ("EndpointSlice", "Node")
"""What is seen of them are Backends, see `service_backends`."""
_NONE: Mapping[str, Document] = MappingProxyType({})
_MOST_KEPT = 4
"""Facts for each object; there are fewer of those that are in force."""
_MOST_ENDED = 1000
_Kept = dict[tuple[int, Callable[..., object]], tuple[Document, object]]


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


@dataclass(frozen=True, slots=True)
class Unkept:
    """A policy that keeps strangers out, or secrets in, is refused, and was never valid."""

    source: Source = field(compare=False)
    targets: frozenset[Target]
    """What it is for, as far as it can be read: refused until it is valid."""

    @property
    def sorted(self) -> list[Target]:
        """The targets in order."""
        return sorted(self.targets, key=str)

    @property
    def message(self) -> str:
        """What follows of it."""
        if not self.targets:
            return "was never valid, and nobody can tell what it is for: nothing is refused for it"
        said = ", ".join(map(str, self.sorted))
        return f"was never valid: requests for {said} are refused until it is"


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """The objects in force, by kind and `namespace/name`, each in the order of their names.

    An object that did not change from one `Declared` to the next is the same Python object in both,
    so later stages may compare with `is`; and so are the objects of a kind in which none changed,
    and the names of a kind of which none came or went.
    """

    by_kind: Mapping[str, Mapping[str, Document]] = field(default_factory=dict)
    sources: Mapping[ObjectKey, Source] = field(default_factory=dict)
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By kind, what its objects are called."""
    unkept: Mapping[ObjectKey, Unkept] = field(default_factory=dict)
    left_alone: frozenset[str] = frozenset()
    """Gateways whose Envoys are told of endpoints alone and keep the rest as they have it: what
    they need is not all known yet, see `kept`."""
    ended: frozenset[str] = frozenset()
    """Gateways of ours that were deleted: their Envoys are told to listen to nothing."""
    _kept: _Kept = field(default_factory=dict, repr=False)
    """See `once`."""

    @classmethod
    def of(
        cls,
        objects: Mapping[ObjectKey, tuple[Document, Source]],
        before: Declared | None = None,
        unkept: Mapping[ObjectKey, Unkept] = MappingProxyType({}),
    ) -> Declared:
        """These objects; what did not change is shared with what was declared `before`."""
        before = before or cls()
        found: dict[str, dict[str, Document]] = {}
        order = before.sources if before.sources.keys() == objects.keys() else sorted(objects)
        for key in order:
            found.setdefault(key.kind, {})[key.name] = objects[key][0]
        by_kind = {kind: _shared(before.by_kind.get(kind), held) for kind, held in found.items()}
        names = {kind: frozenset(held) for kind, held in by_kind.items()}
        for kind, same in before.names.items():
            if names.get(kind) == same:
                names[kind] = same  # the very same, so that it can be told by `is`
        sources = {key: objects[key][1] for key in order}
        ended = (before.ended | before.gateways.keys()) - found.get("Gateway", {}).keys()
        made = cls(by_kind, sources, names, unkept, ended=ended)
        return (
            replace(made, _kept=before._kept_for(made)) if made.hangs_together_as(before) else made
        )

    def differs_in_routes_alone(self, before: Declared) -> bool:
        """Whether nothing else changed but routes, and what is within Backends."""
        return (
            self._same_backends(before)
            and self.unkept == before.unkept
            and all(
                self.by_kind.get(kind) is before.by_kind.get(kind)
                for kind in self.by_kind.keys() | before.by_kind.keys()
                if kind not in (*_ROUTES, "Backend", *_BEHIND_BACKENDS)
            )
        )

    def hangs_together_as(self, before: Declared) -> bool:
        """Whether references of an object that did not change lead where they led before."""
        return (
            self.all(Gateway) is before.all(Gateway)
            and self.all(GatewayClass) is before.all(GatewayClass)
            and self.all(ReferenceGrant) is before.all(ReferenceGrant)
            and self.all(Namespace) is before.all(Namespace)
            and self.all(HttpRouteFilter) is before.all(HttpRouteFilter)
            and self.names.get("Service") is before.names.get("Service")
            and self._same_backends(before)
        )

    def _same_backends(self, before: Declared) -> bool:
        """Whether references to Backends mean what they meant."""
        if self.backends is before.backends:
            return True
        return (
            self.names.get("Backend") is before.names.get("Backend")
            and self._fallbacks() == before._fallbacks()
        )

    def _fallbacks(self) -> list[str]:
        return [key for key, one in self.backends.items() if one.spec.fallback]

    def once(self, one: D, work: Callable[[Declared, D], T]) -> T:
        """`work(self, one)`, kept from one `Declared` to the next while it cannot differ.

        `work` looks at the object, at Gateways, their classes, ReferenceGrants, Namespaces and
        HTTPRouteFilters, and at the names of Backends and Services; at nothing else.
        """
        place = (id(one), work)
        kept = self._kept.get(place)
        if kept is None:
            kept = self._kept[place] = (one, work(self, one))
        return cast("T", kept[1])

    def _kept_for(self, later: Declared) -> _Kept:
        """What is kept; without what is of objects that are gone, once that is most of it."""
        if len(self._kept) <= _MOST_KEPT * len(later.sources):
            return self._kept
        return {
            place: kept
            for place, kept in self._kept.items()
            if later.by_kind.get(kept[0].kind, {}).get(kept[0].key) is kept[0]
        }

    def all(self, model: type[D]) -> Mapping[str, D]:
        """The objects of one kind."""
        return cast("Mapping[str, D]", self.by_kind.get(kind_of(model), _NONE))

    @property
    def gateways(self) -> Mapping[str, Gateway]:
        """The Gateways, without those that another controller serves."""
        others = {one.metadata.name for one in self.all(GatewayClass).values() if not one.ours}
        found = self.all(Gateway)
        if not others:
            return found
        return {key: one for key, one in found.items() if one.spec.gateway_class_name not in others}

    @property
    def fleets(self) -> tuple[str, ...]:
        """The Gateways whose Envoys are told what to run, those that were deleted last; but none of
        these whose bare name one that is declared has, as Envoys may mean that one by it."""
        found = self.gateways
        taken = {key.partition("/")[2] for key in found}
        ended = sorted(key for key in self.ended if key.partition("/")[2] not in taken)
        return (*found, *ended[:_MOST_ENDED])

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
        """The routes of connections and of datagrams."""
        return tuple(
            route for kind in (TlsRoute, TcpRoute, UdpRoute) for route in self.all(kind).values()
        )

    @property
    def every_route(self) -> tuple[Route, ...]:
        """The routes of requests and those of connections."""
        return (*self.request_routes, *self.stream_routes)

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


def _shared(
    before: Mapping[str, Document] | None, now: dict[str, Document]
) -> Mapping[str, Document]:
    """What was there before, where all of it is the same."""
    if before is None or before.keys() != now.keys():
        return now
    return before if all(before[name] is one for name, one in now.items()) else now
