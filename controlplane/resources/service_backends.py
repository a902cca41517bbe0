"""What references to Services become: Backends with the endpoints of their slices. Pure.

A Backend made so is called `namespace/name:port`, which nobody can declare: a colon is in no name.
All that comes after (checks, policies, balancing, translation) knows Backends alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

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
from controlplane.resources.declared import ObjectKey, Source
from controlplane.resources.filters import BackendObjectRef
from controlplane.resources.kinds import WEIR_API, Document, Metadata
from controlplane.resources.service import EndpointSlice, Node, Service, ServicePort, SliceEndpoint
from controlplane.resources.target import TargetRef

CLASS = "weir.dev/class"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
PORT = ":"
"""Between the name of a Service and its port."""

_Objects = Mapping[ObjectKey, tuple[Document, Source]]
_REFERRING = frozenset(
    (
        "HTTPRoute",
        "GRPCRoute",
        "TLSRoute",
        "TCPRoute",
        "UDPRoute",
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


class Wanted(NamedTuple):
    """A Service that is referred to."""

    service: str
    port: int | None
    """None: every port, for a policy."""


class Wants(NamedTuple):
    """The Services that an object refers to."""

    by: Document
    wanted: frozenset[Wanted]


def backend_key(service: str, port: int) -> str:
    """What the Backend of a port is called.

    >>> backend_key("shop/carts", 8080)
    'shop/carts:8080'
    """
    return f"{service}{PORT}{port}"


def of_service(ref: BackendObjectRef) -> bool:
    """Whether a reference means a Service."""
    return ref.kind == "Service" and ref.group in (None, "")


class ServiceBackends:
    """Makes them anew where something changed; what did not is the very same Backend as before.

    Not a value: it remembers what it made last, for one reader of documents.
    """

    def __init__(self) -> None:
        self._wants: dict[ObjectKey, Wants] = {}
        self._made: dict[str, tuple[tuple[object, ...], ServiceBackend]] = {}

    def of(self, objects: _Objects) -> dict[ObjectKey, tuple[Document, Source]]:
        """The Backends of the Services that these objects refer to, as objects."""
        ports = self._ports(objects)
        if not ports:
            self._made = {}
            return {}
        slices = _slices(objects, {service for service, _ in ports})
        made: dict[str, tuple[tuple[object, ...], ServiceBackend]] = {}
        for service, number in sorted(ports):
            found = objects.get(ObjectKey("Service", service))
            document = found[0] if found is not None else None
            port = _port(document, number) if isinstance(document, Service) else None
            if port is None or not isinstance(document, Service):
                continue
            held = tuple(slices.get(service, ()))
            nodes = _nodes(held, objects)
            key, given = backend_key(service, number), (document, held, tuple(nodes.items()))
            before = self._made.get(key)
            if before is not None and _same(before[0], given):
                made[key] = before
                continue
            backend = _backend(document, port, held, nodes)
            if before is not None and before[1] == backend:
                backend = before[1]
            made[key] = (given, backend)
        self._made = made
        return {
            ObjectKey("Backend", key): (one, objects[ObjectKey("Service", one.service)][1])
            for key, (_, one) in made.items()
        }

    def _ports(self, objects: _Objects) -> set[tuple[str, int]]:
        wants: dict[ObjectKey, Wants] = {}
        for key, (document, _) in objects.items():
            if key.kind in _REFERRING:
                before = self._wants.get(key)
                same = before is not None and before.by is document
                wants[key] = before if same and before else Wants(document, _wanted(document))
        self._wants = wants
        found = {one for each in wants.values() for one in each.wanted}
        return {
            (service, number)
            for service, port in found
            for number in (_numbers(objects, service) if port is None else (port,))
        }


def _numbers(objects: _Objects, service: str) -> Iterator[int]:
    found = objects.get(ObjectKey("Service", service))
    if found is not None and isinstance(found[0], Service):
        yield from (one.port for one in found[0].spec.ports)


def _same(before: tuple[object, ...], now: tuple[object, ...]) -> bool:
    """Whether it was made of the very same objects."""
    (service, slices, nodes), (service_, slices_, nodes_) = before, now
    return service is service_ and _are(slices, slices_) and _are(nodes, nodes_)


def _are(before: object, now: object) -> bool:
    assert isinstance(before, tuple)
    assert isinstance(now, tuple)
    return len(before) == len(now) and all(
        one is other or (isinstance(one, tuple) and one[0] == other[0] and one[1] is other[1])
        for one, other in zip(before, now, strict=True)
    )


def _port(service: Service, number: int) -> ServicePort | None:
    """The port of a number; of one for TCP and one for UDP the first."""
    return next((one for one in service.spec.ports if one.port == number), None)


def _slices(objects: _Objects, services: set[str]) -> dict[str, list[EndpointSlice]]:
    """The slices of these Services, in the order of their names."""
    found: dict[str, list[EndpointSlice]] = {}
    for key, (document, _) in objects.items():
        if key.kind == "EndpointSlice" and isinstance(document, EndpointSlice):
            service = document.service
            if service in services:
                found.setdefault(service, []).append(document)
    return {service: sorted(held, key=lambda one: one.key) for service, held in found.items()}


def _nodes(slices: Iterable[EndpointSlice], objects: _Objects) -> dict[str, Node]:
    """The Nodes that these endpoints run on, as far as they are known."""
    names = {one.node_name for each in slices for one in each.endpoints if one.node_name}
    found = {name: objects.get(ObjectKey("Node", f"default/{name}")) for name in sorted(names)}
    return {
        name: one[0] for name, one in found.items() if one is not None and isinstance(one[0], Node)
    }


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


def _wanted(document: Document) -> frozenset[Wanted]:
    namespace = document.metadata.namespace
    found = set()
    for one in _parts(document):
        if isinstance(one, BackendObjectRef) and of_service(one) and one.port is not None:
            found.add(Wanted(f"{one.namespace or namespace}/{one.name}", one.port))
        elif isinstance(one, TargetRef) and one.kind == "Service":
            found.add(Wanted(f"{namespace}/{one.name}", None))
    return frozenset(found)


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
