"""All that is declared, as one frozen value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, TypeVar, TypeVarTuple, cast

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
More = TypeVarTuple("More")

ROUTES = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
BEHIND_BACKENDS = ("EndpointSlice", "Node")
"""What is seen of them are Backends, see `service_backends`."""
_NONE: Mapping[str, Document] = MappingProxyType({})
_MOST_KEPT = 4
"""Facts for each object; there are fewer of those that are in force."""
_MOST_ENDED = 1000
_Kept = dict[tuple[int, Callable[..., object]], tuple[Document, object]]
_Facts = dict[tuple[object, ...], tuple[tuple[object, ...], object]]


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


Changes = Mapping[ObjectKey, tuple[Document, Source] | None]
"""Objects that came, or are others than before, or were read from elsewhere; None: it went."""


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """The objects in force, by kind and `namespace/name`, each in the order of their names.

    An object that did not change from one `Declared` to the next is the same Python object in both,
    so later stages may compare with `is`; and so are the objects of a kind in which none changed,
    and the names of a kind of which none came or went.
    """

    by_kind: Mapping[str, Mapping[str, Document]] = field(default_factory=dict)
    sources: Mapping[ObjectKey, Source] = field(default_factory=dict)
    """In no order."""
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By kind, what its objects are called."""
    unkept: Mapping[ObjectKey, Unkept] = field(default_factory=dict)
    fallbacks: frozenset[str] = frozenset()
    """The Backends that stand in for others."""
    h2c: frozenset[str] = frozenset()
    """The Backends that say themselves that they speak HTTP/2 without TLS."""
    left_alone: frozenset[str] = frozenset()
    """Gateways whose Envoys are told of endpoints alone and keep the rest as they have it: what
    they need is not all known yet, see `kept`."""
    ended: frozenset[str] = frozenset()
    """Gateways of ours that were deleted: their Envoys are told to listen to nothing."""
    _kept: _Kept = field(default_factory=dict, repr=False)
    """See `once`."""
    _facts: _Facts = field(default_factory=dict, repr=False)
    """See `while_same`."""

    def after(
        self, changes: Changes, unkept: Mapping[ObjectKey, Unkept] = MappingProxyType({})
    ) -> Declared:
        """What is declared after these changes; all else is shared, so it costs what changed, and
        a copy of the mappings that hold it."""
        sources, found = dict(self.sources), dict[str, dict[str, Document | None]]()
        for key, one in changes.items():
            if one is None:
                sources.pop(key, None)
            else:
                sources[key] = one[1]
            found.setdefault(key.kind, {})[key.name] = one[0] if one is not None else None
        by_kind, names = dict(self.by_kind), dict(self.names)
        for kind, changed in found.items():
            held = self.by_kind.get(kind, _NONE)
            now = _with(held, changed)
            if now is held:
                continue
            by_kind[kind] = now
            if now.keys() != held.keys():
                names[kind] = frozenset(now)
            if not now:
                del by_kind[kind], names[kind]
        if by_kind.keys() != self.by_kind.keys():
            by_kind = dict(sorted(by_kind.items()))
        backends = found.get("Backend", {})
        made = Declared(
            by_kind,
            sources,
            names,
            unkept,
            _having(self.fallbacks, backends, lambda one: one.spec.fallback),
            _having(self.h2c, backends, lambda one: one.spec.h2c),
            ended=(self.ended | self.gateways.keys()) - by_kind.get("Gateway", _NONE).keys(),
            _facts=self._facts,
        )
        return replace(made, _kept=self._kept_for(made)) if made.hangs_together_as(self) else made

    def differs_in_routes_alone(self, before: Declared) -> bool:
        """Whether nothing else changed but routes, and what is within Backends."""
        return self._differs_within((*ROUTES, "Backend", *BEHIND_BACKENDS), before)

    def differs_in_endpoints_alone(self, before: Declared) -> bool:
        """Whether nothing else changed but the endpoints of Backends: who knows these needs to
        know nothing else anew."""
        return self._differs_within(("Backend", *BEHIND_BACKENDS), before)

    def _differs_within(self, kinds: tuple[str, ...], before: Declared) -> bool:
        """Of Backends at most in their endpoints."""
        return (
            self._same_backends(before)
            and self.unkept == before.unkept
            and all(
                self.by_kind.get(kind) is before.by_kind.get(kind)
                for kind in self.by_kind.keys() | before.by_kind.keys()
                if kind not in kinds
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
            and self.all(Service) is before.all(Service)
            and self._same_backends(before)
        )

    def _same_backends(self, before: Declared) -> bool:
        """Whether references to Backends mean what they meant."""
        return (
            self.names.get("Backend") is before.names.get("Backend")
            and self.fallbacks is before.fallbacks
            and self.h2c is before.h2c
        )

    @property
    def bonds(self) -> object:
        """The very same as before where references lead where they led before."""
        return self._kept

    def those(self, *kinds: str) -> tuple[object, ...]:
        """The objects of these kinds, to be told from those of before by `is`."""
        return tuple(self.by_kind.get(kind) for kind in kinds)

    def while_same(
        self,
        looked_at: tuple[object, ...],
        work: Callable[[Declared, *More], T],
        *more: *More,
    ) -> T:
        """`work(self, *more)`, kept from one `Declared` to the next while all that it looks at,
        `looked_at`, is the very same."""
        place = (work, *more)
        kept = self._facts.get(place)
        if kept is None or any(a is not b for a, b in zip(kept[0], looked_at, strict=True)):
            kept = self._facts[place] = (looked_at, work(self, *more))
        return cast("T", kept[1])

    def once(self, one: D, work: Callable[[Declared, D], T]) -> T:
        """`work(self, one)`, kept from one `Declared` to the next while it cannot differ.

        `work` looks at the object, at Gateways, their classes, ReferenceGrants, Namespaces,
        HTTPRouteFilters and Services, and of Backends at their names, at `fallbacks` and at `h2c`;
        at nothing else.
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

    def get(self, key: ObjectKey) -> Document | None:
        """The object of this name, if there is one."""
        return self.by_kind.get(key.kind, _NONE).get(key.name)

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


def _with(
    held: Mapping[str, Document], changed: Mapping[str, Document | None]
) -> Mapping[str, Document]:
    """These objects of a kind after changes, in order; the very same where nothing changed."""
    news = {name: one for name, one in changed.items() if held.get(name) is not one}
    if not news:
        return held
    now = dict(held)
    for name, one in news.items():
        if one is None:
            del now[name]
        else:
            now[name] = one
    return now if held.keys() >= now.keys() else {name: now[name] for name in sorted(now)}


def _having(
    before: frozenset[str],
    changed: Mapping[str, Document | None],
    has: Callable[[Backend], bool],
) -> frozenset[str]:
    """The Backends of which something is so, after changes; the very same where none differs."""
    now = before.difference(changed) | {
        name for name, one in changed.items() if isinstance(one, Backend) and has(one)
    }
    return before if now == before else now
