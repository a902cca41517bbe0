"""How the objects hang together: Gateway, listeners, routes, Backends.

One place says what a reference means, so that checking, balancing and translation agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from controlplane.resources.backend import Backend
from controlplane.resources.certificates import pair_fault
from controlplane.resources.declared import ROUTES, D, Declared
from controlplane.resources.filters import BackendObjectRef, ExtensionRef
from controlplane.resources.gateway import Gateway, Listener, SecretRef
from controlplane.resources.grants import granted
from controlplane.resources.grpc_route import CallRoute
from controlplane.resources.kinds import WEIR_GROUP, Document, kind_of
from controlplane.resources.namespace import NAME_LABEL, Namespace
from controlplane.resources.problems import near_name
from controlplane.resources.route import ParentRef, RequestRoute, Route
from controlplane.resources.route_filter import HttpRouteFilter
from controlplane.resources.secret import Secret
from controlplane.resources.service import Service
from controlplane.resources.service_backends import backend_key, of_service
from controlplane.resources.stream_route import StreamRoute

_NOT_FOUND, _BAD_CERTIFICATE = "SecretNotFound", "InvalidCertificateRef"


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a reference leads nowhere."""

    message: str
    advice: str = ""
    reason: str = ""
    """In the words of the conditions of the Gateway API."""
    lacking: str = ""
    """`Kind namespace/name` of what is not there."""


def resolve_backend(declared: Declared, by: Document, ref: BackendObjectRef) -> str | Unresolved:
    """The `namespace/name` of the Backend that a route or a policy means."""
    if of_service(ref):
        return _resolve_service(declared, by, ref)
    if ref.kind not in (None, "Backend") or ref.group not in (None, "", WEIR_GROUP):
        what = f"{ref.group or 'core'}/{ref.kind or 'Service'}"
        return Unresolved(
            f"{what} is not served here",
            "refer to a Backend (group: weir.dev, kind: Backend), or to a Service with its port",
            "InvalidKind",
        )
    found = resolve_object(declared, by, Backend, ref.namespace, ref.name, "BackendNotFound")
    return found if isinstance(found, Unresolved) else found.key


def _resolve_service(declared: Declared, by: Document, ref: BackendObjectRef) -> str | Unresolved:
    """The Backend that a port of a Service is."""
    reason = "BackendNotFound"
    found = resolve_object(declared, by, Service, ref.namespace, ref.name, reason)
    if isinstance(found, Unresolved):
        return found
    if ref.port is None:
        return Unresolved(f"Service {found.key} is meant without a port", "give the port", reason)
    key = backend_key(found.key, ref.port)
    if key not in declared.backends:
        ports = ", ".join(str(one.port) for one in found.spec.ports) or "none"
        return Unresolved(
            f"Service {found.key} has no port {ref.port}", f"its ports: {ports}", reason
        )
    return key


def resolve_filter(
    declared: Declared, route: Route, ref: ExtensionRef
) -> HttpRouteFilter | Unresolved:
    """The filter that is meant."""
    found = resolve_object(declared, route, HttpRouteFilter, None, ref.name, "InvalidFilter")
    if isinstance(found, HttpRouteFilter) and found.spec.payload and isinstance(route, CallRoute):
        return Unresolved(
            f"HTTPRouteFilter {found.key} has a payload, and calls of gRPC are no JSON",
            "tell calls apart by cel or jwt",
            "InvalidFilter",
        )
    return found


def resolve_certificate(
    declared: Declared, gateway: Gateway, ref: SecretRef
) -> Secret | Unresolved:
    """The Secret with the certificate that is meant; its key fits."""
    secret = resolve_secret(declared, gateway, ref)
    if isinstance(secret, Secret):
        fault = pair_fault(secret)
        message = f"Secret {secret.key} is no certificate: {fault}"
        advice = "put a certificate and its key into it, in PEM: tls.crt and tls.key"
        return Unresolved(message, advice, _BAD_CERTIFICATE) if fault else secret
    if secret.reason == _NOT_FOUND:
        return replace(secret, reason=_BAD_CERTIFICATE)
    return secret


def resolve_secret(declared: Declared, by: Document, ref: SecretRef) -> Secret | Unresolved:
    """The Secret that is meant."""
    return resolve_object(declared, by, Secret, ref.namespace, ref.name, _NOT_FOUND)


def resolve_object(
    declared: Declared, by: Document, model: type[D], namespace: str | None, name: str, reason: str
) -> D | Unresolved:
    """The object of a kind that `by` means, in its own namespace or in one that lets it; `reason`
    is that of a condition where there is none."""
    key = f"{namespace or by.metadata.namespace}/{name}"
    if not granted(declared, by, model, key):
        return _not_granted(by, model, key)
    objects = declared.all(model)
    found = objects.get(key)
    if found is None:
        lacking = f"{kind_of(model)} {key}"
        return Unresolved(f"there is no {lacking}", near_name(key, objects), reason, lacking)
    return found


def _not_granted(by: Document, to: type[Document], key: str) -> Unresolved:
    """Why a reference into another namespace leads nowhere."""
    kind, theirs = kind_of(to), key.partition("/")[0]
    return Unresolved(
        f"{kind} {key} is in another namespace, and no ReferenceGrant there allows it",
        f"declare a ReferenceGrant in namespace {theirs} from {kind_of(type(by))} of namespace "
        f"{by.metadata.namespace} to {kind}",
        "RefNotPermitted",
    )


def resolve_gateway(declared: Declared, route: Route, ref: ParentRef) -> Gateway | Unresolved:
    """The Gateway that is meant."""
    key = f"{ref.namespace or route.metadata.namespace}/{ref.name}"
    gateway = declared.gateways.get(key)
    if gateway is None:
        advice = near_name(key, declared.gateways)
        return Unresolved(
            f"there is no Gateway {key}", advice, "NoMatchingParent", f"Gateway {key}"
        )
    return gateway


def of_others(declared: Declared, route: Route, ref: ParentRef) -> bool:
    """Whether the Gateway that is meant is there and another controller's."""
    key = f"{ref.namespace or route.metadata.namespace}/{ref.name}"
    return key in declared.all(Gateway) and key not in declared.gateways


def meant(gateway: Gateway, ref: ParentRef) -> list[Listener]:
    """The listeners of the Gateway that the reference names."""
    return [
        listener
        for listener in gateway.spec.listeners
        if ref.section_name in (None, listener.name) and ref.port in (None, listener.port)
    ]


def lets_in(declared: Declared, gateway: Gateway, listener: Listener, namespace: str) -> bool:
    """Whether routes of a namespace may attach to a listener."""
    allowed = listener.allowed_routes.namespaces
    if allowed.selector is not None:
        return allowed.selector.selects(_labels(declared, namespace))
    return allowed.from_ == "All" or namespace == gateway.metadata.namespace


def _labels(declared: Declared, namespace: str) -> dict[str, str]:
    found = declared.all(Namespace).get(f"default/{namespace}")  # it stands in no namespace
    return {**(found.metadata.labels if found else {}), NAME_LABEL: namespace}


def listeners_for(
    declared: Declared, gateway: Gateway, route: Route, ref: ParentRef
) -> list[Listener]:
    """The listeners of the Gateway that the reference names and that let the route in."""
    return [
        listener
        for listener in meant(gateway, ref)
        if kind_of(type(route)) in listener.takes
        and lets_in(declared, gateway, listener, route.metadata.namespace)
        and hostnames(listener, route)
    ]


def covers(pattern: str, host: str) -> bool:
    """Whether every host that `host` stands for is also in `pattern`.

    >>> covers("*.example.com", "a.b.example.com"), covers("*.example.com", "example.com")
    (True, False)
    """
    if pattern in ("*", host):
        return True
    return pattern.startswith("*.") and host.removeprefix("*").endswith(pattern[1:])


def covering(host: str) -> Iterator[str]:
    """The host names that a listener or route may give and that take in this one, exactest first.

    >>> list(covering("a.example.com"))
    ['a.example.com', '*.example.com', '*.com', '*']
    """
    yield host
    rest = host.removeprefix("*.")
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    if host != "*":
        yield "*"


def owner(listeners: Iterable[Listener], host: str) -> Listener:
    """Of the listeners of a port, the one that a host of theirs belongs to: it fits it best."""
    return max(
        (one for one in listeners if covers(one.hostname or "*", host)),
        key=lambda one: _exactness(one.hostname or "*"),
    )


def _exactness(host: str) -> tuple[int, int]:
    """A plain host before a wildcard, a longer one before a shorter, `*` last."""
    return (0 if host.startswith("*") else 1, len(host.removeprefix("*")))


def hostnames(listener: Listener, route: Route) -> tuple[str, ...]:
    """Hosts for which the listener gives what comes in to the route; `*` is every host."""
    mine = listener.hostname or "*"
    if not route.hosts:
        return (mine,)
    both = []
    for theirs in route.hosts:
        if covers(mine, theirs):
            both.append(theirs)
        elif covers(theirs, mine):
            both.append(mine)
    return tuple(dict.fromkeys(both))


class Stream(NamedTuple):
    """A route of connections at a listener."""

    listener: Listener
    route: StreamRoute
    hosts: tuple[str, ...]
    """The names (SNI) that are its own there."""


class Conflict(NamedTuple):
    """A route that a listener does not take because an older one is there."""

    listener: Listener
    route: Route
    winner: Route
    hosts: tuple[str, ...]
    """What is taken already."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What is attached to the listeners of a Gateway."""

    requests: tuple[tuple[Listener, RequestRoute], ...] = ()
    streams: tuple[Stream, ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    @property
    def pairs(self) -> tuple[tuple[Listener, Route], ...]:
        """Each listener with every route that is attached to it."""
        return (*self.requests, *((one.listener, one.route) for one in self.streams))


def attachments(declared: Declared) -> Mapping[str, Attached]:
    """By Gateway."""
    looked_at = declared.those(*ROUTES, "Gateway", "GatewayClass", "Namespace")
    return declared.while_same(looked_at, _attachments)


def _attachments(declared: Declared) -> Mapping[str, Attached]:
    requests = _wanted(declared, declared.request_routes)
    streams = _wanted(declared, declared.stream_routes)
    found = {}
    for key in declared.gateways:
        taken, refused = _apart(requests.get(key, ()))
        shared, late = _first_by_host(streams.get(key, ()))
        found[key] = Attached(tuple(taken), tuple(shared), (*refused, *late))
    return found


def attached(declared: Declared) -> Mapping[str, tuple[tuple[Listener, RequestRoute], ...]]:
    """By Gateway, its listeners with each route of requests that is attached to them."""
    return {key: found.requests for key, found in attachments(declared).items()}


R = TypeVar("R", bound=Route)


def _wanted(declared: Declared, routes: Iterable[R]) -> dict[str, Sequence[tuple[Listener, R]]]:
    """By Gateway, each listener with the routes that it lets in, each once."""
    found: dict[str, list[tuple[Listener, R]]] = {}
    for route in routes:
        for key, listener in declared.once(route, _listeners_of):
            found.setdefault(key, []).append((listener, route))
    return {key: tuple(pairs) for key, pairs in found.items()}


def _listeners_of(declared: Declared, route: Route) -> tuple[tuple[str, Listener], ...]:
    """The listeners that let the route in, each once, with their Gateways."""
    gateways = ((ref, resolve_gateway(declared, route, ref)) for ref in route.spec.parent_refs)
    found = {
        (gateway.key, listener.name): listener
        for ref, gateway in gateways
        if isinstance(gateway, Gateway)
        for listener in listeners_for(declared, gateway, route, ref)
    }
    return tuple((key, listener) for (key, _), listener in found.items())


def _apart(
    pairs: Sequence[tuple[Listener, RequestRoute]],
) -> tuple[list[tuple[Listener, RequestRoute]], list[Conflict]]:
    """HTTPRoutes and GRPCRoutes share no host of a listener: the older one has it.

    https://gateway-api.sigs.k8s.io/reference/spec/#grpcroute
    """
    if len({route.kind for _, route in pairs}) < 2:
        return list(pairs), []
    hosts: dict[tuple[str, str], _Hosts] = {}
    conflicts: dict[tuple[str, str, str], Conflict] = {}
    for listener, route in sorted(pairs, key=_by_age):
        here = hostnames(listener, route)
        others = [
            held
            for (name, kind), held in hosts.items()
            if name == listener.name and kind != route.kind
        ]
        clash = [
            (host, winner)
            for host in here
            for held in others
            if (winner := held.meeting(host)) is not None
        ]
        if clash:
            taken = tuple(host for host, _ in clash)
            conflicts[listener.name, route.kind, route.key] = Conflict(
                listener, route, clash[0][1], taken
            )
        else:
            held = hosts.setdefault((listener.name, route.kind), _Hosts({}, {}))
            for host in here:
                held.add(host, route)
    kept = [
        (listener, route)
        for listener, route in pairs
        if (listener.name, route.kind, route.key) not in conflicts
    ]
    return kept, list(conflicts.values())


class _Hosts(NamedTuple):
    """Host names, and who has them first."""

    exact: dict[str, Route]
    above: dict[str, Route]
    """The wildcards that take in one of them."""

    def add(self, host: str, route: Route) -> None:
        """One more."""
        self.exact.setdefault(host, route)
        for pattern in covering(host):
            self.above.setdefault(pattern, route)

    def meeting(self, host: str) -> Route | None:
        """Who has a name that shares a host with this one."""
        near = (self.exact[one] for one in covering(host) if one in self.exact)
        return next(near, None) or self.above.get(host)


def _first_by_host(
    pairs: Sequence[tuple[Listener, StreamRoute]],
) -> tuple[list[Stream], list[Conflict]]:
    """A name at a listener belongs to the oldest route that is for it."""
    owners: dict[tuple[str, str], StreamRoute] = {}
    streams, conflicts = [], []
    for listener, route in sorted(pairs, key=_by_age):
        own: list[str] = []
        taken: list[str] = []
        for host in hostnames(listener, route):
            first = owners.setdefault((listener.name, host), route)
            (own if first is route else taken).append(host)
        if own:
            streams.append(Stream(listener, route, tuple(own)))
        if taken:
            winner = owners[listener.name, taken[0]]
            conflicts.append(Conflict(listener, route, winner, tuple(taken)))
    return streams, conflicts


def _by_age(pair: tuple[Listener, Route]) -> tuple[str, ...]:
    return *pair[1].age_order, pair[1].kind


def backends_of(declared: Declared, route: Route) -> tuple[str, ...]:
    """The Backends that the route refers to, as often as it does."""
    return declared.once(route, _backends_of)


def _backends_of(declared: Declared, route: Route) -> tuple[str, ...]:
    return tuple(key for _, refs in route.parts() for key in resolved(declared, route, refs))


def resolved(declared: Declared, route: Route, refs: Iterable[BackendObjectRef]) -> Iterator[str]:
    """The Backends that these references of a route lead to."""
    for ref in refs:
        key = resolve_backend(declared, route, ref)
        if isinstance(key, str):
            yield key


def backends_under(declared: Declared) -> Mapping[str, frozenset[str]]:
    """By Gateway, the Backends that its routes reach."""
    return declared.while_same((attachments(declared), declared.bonds), _backends_under)


def _backends_under(declared: Declared) -> Mapping[str, frozenset[str]]:
    return {
        key: frozenset(
            backend for _, route in found.pairs for backend in backends_of(declared, route)
        )
        for key, found in attachments(declared).items()
    }
