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
_Seen = Mapping[ObjectKey, Document]
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
_RELEVANT = _REFERRING | {"Service", "EndpointSlice", "Node"}


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
    """Makes them, and makes anew what something changed for; what did not change is the very same
    Backend as before, and costs a look.

    Not a value: it remembers what it saw last, for one reader of documents.
    """

    def __init__(self) -> None:
        self._seen: dict[ObjectKey, Document] = {}
        self._wants: dict[ObjectKey, frozenset[Wanted]] = {}
        self._ports: dict[str, set[int]] = {}
        """Of the Services that are referred to."""
        self._slices: dict[str, dict[ObjectKey, EndpointSlice]] = {}
        """By Service, referred to or not."""
        self._made: dict[str, dict[str, ServiceBackend]] = {}
        """By Service, what its ports are, by their keys."""

    def of(self, objects: _Objects) -> dict[ObjectKey, tuple[Document, Source]]:
        """The Backends of the Services that these objects refer to, as objects."""
        now = {key: one for key, (one, _) in objects.items() if key.kind in _RELEVANT}
        before, self._seen = self._seen, now
        changed = [key for key, one in now.items() if before.get(key) is not one]
        changed += before.keys() - now.keys()
        for service in self._touched(changed, before, now):
            self._make(service, now)
        return {
            ObjectKey("Backend", key): (one, objects[ObjectKey("Service", service)][1])
            for service, made in self._made.items()
            for key, one in made.items()
        }

    def _touched(self, changed: list[ObjectKey], before: _Seen, now: _Seen) -> set[str]:
        """The Services for which any of these changes may mean something."""
        touched: set[str] = set()
        kinds = {key.kind for key in changed}
        for key in changed:
            if key.kind == "EndpointSlice":
                touched |= self._move_slice(key, before.get(key), now.get(key))
            elif key.kind == "Service":
                touched.add(key.name)
            elif key.kind in _REFERRING:
                self._wants.pop(key, None)
                if key in now:
                    self._wants[key] = _wanted(now[key])
        if kinds & (_REFERRING | {"Service"}):
            ports = self._all_ports(now)
            all_ = self._ports.keys() | ports.keys()
            touched |= {one for one in all_ if self._ports.get(one) != ports.get(one)}
            self._ports = ports
        if "Node" in kinds:
            touched |= self._ports.keys()
        return touched & (self._ports.keys() | self._made.keys())

    def _move_slice(
        self, key: ObjectKey, before: Document | None, now: Document | None
    ) -> set[str]:
        touched = set()
        if isinstance(before, EndpointSlice):
            touched.add(before.service)
            self._slices.get(before.service, {}).pop(key, None)
        if isinstance(now, EndpointSlice):
            touched.add(now.service)
            self._slices.setdefault(now.service, {})[key] = now
        for service in touched:
            if not self._slices.get(service):
                self._slices.pop(service, None)
        return touched

    def _all_ports(self, now: _Seen) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for each in self._wants.values():
            for service, port in each:
                numbers = _numbers(now, service) if port is None else (port,)
                found.setdefault(service, set()).update(numbers)
        return found

    def _make(self, service: str, now: _Seen) -> None:
        """The Backends of the ports of a Service, those that are as they were kept."""
        before = self._made.pop(service, {})
        document = now.get(ObjectKey("Service", service))
        if not isinstance(document, Service):
            return
        slices = [one for _, one in sorted(self._slices.get(service, {}).items())]
        nodes = _nodes(slices, now)
        made: dict[str, ServiceBackend] = {}
        for number in sorted(self._ports.get(service, ())):
            port = _port(document, number)
            if port is not None:
                key = backend_key(service, number)
                backend, held = _backend(document, port, slices, nodes), before.get(key)
                made[key] = held if held is not None and held == backend else backend
        if made:
            self._made[service] = made


def _numbers(now: _Seen, service: str) -> Iterator[int]:
    found = now.get(ObjectKey("Service", service))
    if isinstance(found, Service):
        yield from (one.port for one in found.spec.ports)


def _port(service: Service, number: int) -> ServicePort | None:
    """The port of a number; of one for TCP and one for UDP the first."""
    return next((one for one in service.spec.ports if one.port == number), None)


def _nodes(slices: Iterable[EndpointSlice], now: _Seen) -> dict[str, Node]:
    """The Nodes that these endpoints run on, as far as they are known."""
    names = {one.node_name for each in slices for one in each.endpoints if one.node_name}
    found = {name: now.get(ObjectKey("Node", f"default/{name}")) for name in names}
    return {name: one for name, one in found.items() if isinstance(one, Node)}


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
