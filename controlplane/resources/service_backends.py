"""What references to Services become: Backends with the endpoints of their slices. Pure.

A Backend made so is called `namespace/name:port`, which nobody can declare: a colon is in no name.
All that comes after (checks, policies, balancing, translation) knows Backends alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from controlplane.resources.backend import (
    CAPACITY,
    REGION,
    ZONE,
    Backend,
    BackendEndpoint,
    BackendSpec,
    Ip,
)
from controlplane.resources.declared import ROUTES, Changes, ObjectKey, Source
from controlplane.resources.filters import BackendObjectRef
from controlplane.resources.kinds import WEIR_API, Document, Metadata
from controlplane.resources.service import EndpointSlice, Node, Service, ServicePort, SliceEndpoint
from controlplane.resources.target import TargetRef

CLASS = "weir.dev/class"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
PORT = ":"
"""Between the name of a Service and its port."""

_REFERRING = frozenset(
    (
        *ROUTES,
        "BalancingPolicy",
        "TrafficPolicy",
        "SecurityPolicy",
        "ClientPolicy",
        "BackendTLSPolicy",
    )
)


class ServiceBackend(Backend):
    """The Backend that a port of a Service is."""

    service: str
    """`namespace/name`."""
    section: str
    """The name of the port."""


def backend_key(service: str, port: int) -> str:
    """What the Backend of a port is called.

    >>> backend_key("shop/carts", 8080)
    'shop/carts:8080'
    """
    return f"{service}{PORT}{port}"


def of_service(ref: BackendObjectRef) -> bool:
    """Whether a reference means a Service."""
    return ref.kind == "Service" and ref.group in (None, "")


_Ports = frozenset[int | None]
"""Of a Service that is referred to; None among them: every port, for a policy."""


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A Service, if it is there, and all that makes Backends of it."""

    service: Service | None = None
    source: Source | None = None
    by: Mapping[ObjectKey, _Ports] = field(default_factory=dict)
    """Who refers to it, and to which ports."""
    slices: Mapping[ObjectKey, EndpointSlice] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()
    """The Nodes that its endpoints run on, there or not."""
    made: Mapping[str, ServiceBackend] = field(default_factory=dict)
    """The Backends of its ports, by their keys."""


@dataclass(frozen=True, slots=True, eq=False)
class ServiceBackends:
    """The Backends of the Services that some objects refer to."""

    _asked: Mapping[str, _Asked] = field(default_factory=dict)
    """By Service: those that are there, are referred to, or have slices."""
    _wants: Mapping[ObjectKey, Mapping[str, _Ports]] = field(default_factory=dict)
    """By who refers to them, Services and ports."""
    _slices: Mapping[ObjectKey, EndpointSlice] = field(default_factory=dict)
    _nodes: Mapping[str, Node] = field(default_factory=dict)

    def has(self, key: ObjectKey) -> bool:
        """Whether an object is one of them."""
        asked = self._asked.get(key.name.partition(PORT)[0])
        return key.kind == "Backend" and asked is not None and key.name in asked.made

    def after(self, changes: Changes) -> tuple[ServiceBackends, Changes]:
        """The same after changes of objects, and what that changes in the Backends. What did not
        change is the very same Backend as before."""
        work = _Work(dict(self._asked), dict(self._wants), dict(self._slices), dict(self._nodes))
        for key, one in changes.items():
            work.take(key, *(one if one is not None else (None, None)))
        found = work.again()
        return ServiceBackends(work.asked, work.wants, work.slices, work.nodes), found


@dataclass(slots=True, eq=False)
class _Draft:
    """A Service for which a change may mean something."""

    before: _Asked
    service: Service | None
    source: Source | None
    by: dict[ObjectKey, _Ports]
    slices: dict[ObjectKey, EndpointSlice]

    def made(self, nodes: Mapping[str, Node]) -> _Asked:
        """With its Backends as they are now."""
        slices = [one for _, one in sorted(self.slices.items())]
        on = {one.node_name for each in slices for one in each.endpoints if one.node_name}
        keys = {name: f"default/{name}" for name in on}  # a Node stands in no namespace
        made: dict[str, ServiceBackend] = {}
        if self.service is not None and self.by:
            here = {name: nodes[key] for name, key in keys.items() if key in nodes}
            made = dict(self._backends(self.service, slices, here))
        names = frozenset(keys.values())
        return _Asked(self.service, self.source, self.by, self.slices, names, made)

    def _backends(
        self, service: Service, slices: Sequence[EndpointSlice], nodes: Mapping[str, Node]
    ) -> Iterator[tuple[str, ServiceBackend]]:
        said = frozenset[int | None]().union(*self.by.values())
        every = [one.port for one in service.spec.ports] if None in said else []
        for number in sorted({*(one for one in said if one is not None), *every}):
            port = _port(service, number)
            if port is not None:
                key = backend_key(service.key, number)
                backend, held = _backend(service, port, slices, nodes), self.before.made.get(key)
                yield key, held if held is not None and held == backend else backend


@dataclass(slots=True, eq=False)
class _Work:
    """What is known, while changes are taken in."""

    asked: dict[str, _Asked]
    wants: dict[ObjectKey, Mapping[str, _Ports]]
    slices: dict[ObjectKey, EndpointSlice]
    nodes: dict[str, Node]
    drafts: dict[str, _Draft] = field(default_factory=dict)

    def take(self, key: ObjectKey, now: Document | None, source: Source | None) -> None:
        """An object that changed, or went."""
        if key.kind == "EndpointSlice":
            self._take_slice(key, now if isinstance(now, EndpointSlice) else None)
        elif key.kind == "Service":
            draft = self._draft(key.name)
            draft.service, draft.source = now if isinstance(now, Service) else None, source
        elif key.kind == "Node":
            self._take_node(key.name, now if isinstance(now, Node) else None)
        elif key.kind in _REFERRING:
            self._take_wants(key, now)

    def again(self) -> Changes:
        """Make anew what was touched; what differs of the Backends."""
        found: dict[ObjectKey, tuple[Document, Source] | None] = {}
        for name, draft in self.drafts.items():
            now, before = draft.made(self.nodes), draft.before
            self.asked[name] = now
            if now.service is None and not now.by and not now.slices:
                del self.asked[name]
            for key in before.made.keys() - now.made.keys():
                found[ObjectKey("Backend", key)] = None
            for key, one in now.made.items():
                if before.made.get(key) is not one or before.source is not now.source:
                    assert now.source is not None, "it is of a Service that is there"
                    found[ObjectKey("Backend", key)] = (one, now.source)
        return found

    def _draft(self, name: str) -> _Draft:
        draft = self.drafts.get(name)
        if draft is None:
            one = self.asked.get(name, _Asked())
            draft = _Draft(one, one.service, one.source, dict(one.by), dict(one.slices))
            self.drafts[name] = draft
        return draft

    def _take_slice(self, key: ObjectKey, now: EndpointSlice | None) -> None:
        before = self.slices.pop(key, None)
        if before is not None:
            del self._draft(before.service).slices[key]
        if now is not None:
            self.slices[key] = self._draft(now.service).slices[key] = now

    def _take_node(self, name: str, now: Node | None) -> None:
        self.nodes.pop(name, None)
        if now is not None:
            self.nodes[name] = now
        for service, one in self.asked.items():
            if name in one.nodes:
                self._draft(service)

    def _take_wants(self, key: ObjectKey, now: Document | None) -> None:
        before, wanted = self.wants.pop(key, {}), _wanted(now) if now is not None else {}
        if wanted:
            self.wants[key] = wanted
        for service in before.keys() | wanted.keys():
            by = self._draft(service).by
            by.pop(key, None)
            if service in wanted:
                by[key] = wanted[service]


def _port(service: Service, number: int) -> ServicePort | None:
    """The port of a number; of one for TCP and one for UDP the first."""
    return next((one for one in service.spec.ports if one.port == number), None)


def _backend(
    service: Service, port: ServicePort, slices: Iterable[EndpointSlice], nodes: Mapping[str, Node]
) -> ServiceBackend:
    metadata = Metadata.model_construct(
        name=f"{service.metadata.name}{PORT}{port.port}",
        namespace=service.metadata.namespace,
        labels={},
        annotations={},
        creation_timestamp=service.metadata.creation_timestamp,
    )
    spec = BackendSpec.model_construct(
        endpoints=tuple(_endpoints(service, port, slices, nodes)),
        fallback=False,
        app_protocols=_protocols(port),
    )
    return ServiceBackend.model_construct(
        api_version=WEIR_API,
        kind="Backend",
        metadata=metadata,
        spec=spec,
        service=service.key,
        section=port.name,
    )


def _protocols(port: ServicePort) -> tuple[str, ...]:
    return (
        (port.app_protocol,)
        if port.app_protocol in ("kubernetes.io/h2c", "kubernetes.io/ws")
        else ()
    )


def _endpoints(
    service: Service, port: ServicePort, slices: Iterable[EndpointSlice], nodes: Mapping[str, Node]
) -> list[BackendEndpoint]:
    """By address, each once: while Kubernetes moves one between slices it may be in two."""
    slices = tuple(slices)
    family = _family(service, slices)
    found: dict[tuple[str, int], BackendEndpoint] = {}
    for each in slices:
        number = next(
            (
                one.port
                for one in each.ports
                if one.name == port.name and one.protocol == port.protocol
            ),
            None,
        )
        if each.address_type != family or number is None:
            continue
        for endpoint in each.endpoints:
            made = _endpoint(endpoint, number, nodes.get(endpoint.node_name))
            if made is None or made.ip is None:
                continue
            place = (made.ip.address, number)
            if place not in found or found[place].draining:
                found[place] = made
    return [found[place] for place in sorted(found)]


def _family(service: Service, slices: Iterable[EndpointSlice]) -> str:
    """The family of addresses that is used: a Service of both has its endpoints in each."""
    if service.spec.ip_families:
        return service.spec.ip_families[0]
    return "IPv4" if any(one.address_type == "IPv4" for one in slices) else "IPv6"


def _endpoint(endpoint: SliceEndpoint, port: int, node: Node | None) -> BackendEndpoint | None:
    """None where it gets nothing, or has no address that could be sent to."""
    conditions = endpoint.conditions
    if not endpoint.addresses or not (conditions.takes or conditions.drains):
        return None
    labels = node.metadata.labels if node is not None else {}
    known = _known(labels)
    with contextlib.suppress(ValidationError):
        return BackendEndpoint.model_construct(
            ip=Ip(address=endpoint.addresses[0], port=port),
            fqdn=None,
            labels=known,
            zone=endpoint.zone or labels.get(ZONE, ""),
            draining=conditions.drains,
        )
    return None


def _known(labels: Mapping[str, str]) -> dict[str, str]:
    """What the labels of a Node say of the endpoints there."""
    found = {name: labels[name] for name in (CLASS, REGION) if labels.get(name)}
    if CLASS not in found and labels.get(INSTANCE_TYPE):
        found[CLASS] = labels[INSTANCE_TYPE]
    with contextlib.suppress(KeyError, ValueError):
        if 0 < float(labels[CAPACITY]) < math.inf:
            found[CAPACITY] = labels[CAPACITY]
    return found


def _wanted(document: Document) -> dict[str, _Ports]:
    """The Services that a document refers to, and which ports of them."""
    namespace = document.metadata.namespace
    found: dict[str, _Ports] = {}
    for one in _parts(document):
        port: int | None = None
        if isinstance(one, BackendObjectRef) and of_service(one) and one.port is not None:
            service, port = f"{one.namespace or namespace}/{one.name}", one.port
        elif isinstance(one, TargetRef) and one.kind == "Service":
            service = f"{namespace}/{one.name}"
        else:
            continue
        found[service] = found.get(service, frozenset()) | {port}
    return found


def _parts(value: object) -> Iterator[BaseModel]:
    """The models within a value, and itself."""
    if isinstance(value, BaseModel):
        yield value
        for one in value.__dict__.values():
            yield from _parts(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from _parts(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _parts(one)
