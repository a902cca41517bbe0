"""Endpoint assignments: the one resource that changes every second, so the one made to be cheap.

One C-backed message is kept for each service. New weights are written into it and it is serialised
again; the same bytes then carry the full name and, where it is unique, the bare name.

A group is a locality of its own: its sub-zone is the name of the group, its region and zone those
of its endpoints where they agree. Endpoints of a group are equal. Without groups there is one
locality, and each endpoint has its weight.

Endpoints that drain are a locality of their own, DRAINING: Envoy leaves it out of the shares of the
others and of its panic threshold, and nothing but a session leads there.

Parts of a cluster have a message each, with their priority; its groups keep their relation, and
together weigh what the part does among the others of its priority. The Envoys of a place may be
told other priorities and weights of parts (`Order`); those within a part are the same for all. Or
they are told that all parts are one (`Part.together`): one locality of equal endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import NamedTuple

from controlplane._pb import endpoint_pb2
from controlplane.model import (
    OVERPROVISIONED_GROUPS,
    Endpoint,
    EndpointId,
    Grouping,
    Order,
    Orders,
    Part,
    Service,
    ServiceName,
    Verdict,
    Zone,
)
from controlplane.translate.wire import prefixed

_CLUSTER_NAME = 1

_WEIGHT_OF_PART = 100_000
"""The sum of the weights in a part of weight 1: so many steps there are between its groups."""
DRAINING = "weir.dev/draining"
"""The sub-zone of endpoints that drain."""
TOGETHER = "weir.dev/together"
"""The sub-zone of the endpoints of all zones, where these are one."""

EMPTY = b""
"""The body of an assignment without endpoints. Sent only where the declaration says so."""


@dataclass(slots=True)
class _Kept:
    endpoints: tuple[Endpoint, ...]
    draining: tuple[Endpoint, ...]
    grouping: Grouping
    message: endpoint_pb2.ClusterLoadAssignment
    weights: tuple[int, ...]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Named:
    """The assignment of a cluster, for the Envoys of a place or for all others."""

    bodies: tuple[bytes, ...]
    wires: dict[str, bytes]
    """By the names that it has."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cluster:
    """The assignments of a cluster, and all that they were made from."""

    names: Sequence[str]
    parts: Sequence[Service]
    verdicts: Sequence[Verdict | None]
    orders: Mapping[Zone, Order] | None
    common: Mapping[str, bytes]
    by_place: Mapping[Zone, Mapping[str, bytes]] = field(default_factory=dict)
    kept: dict[tuple[ServiceName, Part | None], _Kept] = field(default_factory=dict)
    named: dict[Zone | None, _Named] = field(default_factory=dict)

    def is_of(
        self,
        names: Sequence[str],
        parts: Sequence[Service],
        verdicts: Sequence[Verdict | None],
        orders: Mapping[Zone, Order] | None,
    ) -> bool:
        """Whether these would come to the same."""
        return (
            self.orders is orders
            and (self.names is names or self.names == names)
            and len(self.parts) == len(parts)
            and all(map(is_, self.parts, parts))
            and all(map(_alike, self.verdicts, verdicts))
        )


def _alike(some: Verdict | None, other: Verdict | None) -> bool:
    """Whether two verdicts on a service surely come to the same assignment."""
    if some is other:
        return True
    return (
        some is not None
        and other is not None
        and some.service is other.service
        and some.grouping is other.grouping
        and some.weights == other.weights
    )


class Assigned(NamedTuple):
    """Assignments by `namespace/name`, and by the bare name where it is unique."""

    common: Mapping[str, bytes]
    by_place: Mapping[Zone, Mapping[str, bytes]]
    """Those that are others for the Envoys of a place."""


class Assignments:
    """Makes endpoint assignments: those of a cluster again where its services, or the verdicts on
    them, are others. One message is kept for each service, and for each priority and weight that a
    part has for the Envoys of some place."""

    def __init__(self) -> None:
        self._clusters: dict[ServiceName, _Cluster] = {}
        self._names: Mapping[ServiceName, Sequence[str]] = {}
        self.clusters: frozenset[str] = frozenset()
        """The clusters that had services the last time."""

    def resources(
        self,
        services: Sequence[Service],
        verdicts: Mapping[ServiceName, Verdict],
        orders: Orders | None = None,
    ) -> Assigned:
        """Raises `ValueError` for a service that has endpoints and no verdict: an assignment is
        never made up here.
        """
        before, self._clusters = self._clusters, {}
        parts_of: dict[ServiceName, list[Service]] = {}
        for service in services:
            parts_of.setdefault(service.cluster, []).append(service)
        if parts_of.keys() != self._names.keys():
            self._names, self.clusters = _names(parts_of), frozenset(map(str, parts_of))
        common: dict[str, bytes] = {}
        by_place: dict[Zone, dict[str, bytes]] = {}
        for cluster, parts in parts_of.items():
            made, names = before.get(cluster), self._names[cluster]
            said = [verdicts.get(one.name) for one in parts]
            order = orders.get(cluster) if orders else None
            if made is None or not made.is_of(names, parts, said, order):
                made = _cluster(names, parts, said, order, made)
            self._clusters[cluster] = made
            common.update(made.common)
            for place, here in made.by_place.items():
                by_place.setdefault(place, {}).update(here)
        return Assigned(common, by_place)


def _names(clusters: Collection[ServiceName]) -> dict[ServiceName, Sequence[str]]:
    """By `namespace/name`, all names of each."""
    short = {cluster: cluster.partition("/")[2] for cluster in clusters}
    often = Counter(short.values())
    return {
        cluster: [str(cluster), name] if often[name] == 1 else [str(cluster)]
        for cluster, name in short.items()
    }


def _cluster(
    names: Sequence[str],
    parts: Sequence[Service],
    verdicts: Sequence[Verdict | None],
    orders: Mapping[Zone, Order] | None,
    before: _Cluster | None,
) -> _Cluster:
    if not any(part.endpoints for part in parts):
        nowhere = {name: _nowhere(name, before) for name in names}
        return _Cluster(names, parts, verdicts, orders, nowhere)
    made = _Making(names, parts, verdicts, before)
    bodies = made.bodies({})
    common = made.assignments(None, bodies)
    by_place = {
        place: made.assignments(place, here)
        for place, order in (orders or {}).items()
        if (here := made.bodies(order)) != bodies
    }
    return _Cluster(names, parts, verdicts, orders, common, by_place, made.kept, made.named)


def _nowhere(name: str, before: _Cluster | None) -> bytes:
    """The assignment without endpoints."""
    wire = prefixed(_CLUSTER_NAME, name.encode()) + EMPTY
    held = before.common.get(name) if before is not None else None
    return held if held == wire else wire


@dataclass(frozen=True, slots=True, eq=False)
class _Making:
    """The assignments of a cluster, while they are made."""

    names: Sequence[str]
    parts: Sequence[Service]
    verdicts: Sequence[Verdict | None]
    before: _Cluster | None
    kept: dict[tuple[ServiceName, Part | None], _Kept] = field(default_factory=dict)
    named: dict[Zone | None, _Named] = field(default_factory=dict)

    def assignments(self, where: Zone | None, bodies: tuple[bytes, ...]) -> Mapping[str, bytes]:
        """By each of its names: those of its parts, one after another, are one."""
        named = self.before.named.get(where) if self.before is not None else None
        if named is None or named.bodies != bodies:
            named = _Named(bodies, {})
        self.named[where] = named
        for name in self.names:
            if name not in named.wires:
                named.wires[name] = prefixed(_CLUSTER_NAME, name.encode()) + b"".join(bodies)
        return {name: named.wires[name] for name in self.names}

    def bodies(self, order: Order) -> tuple[bytes, ...]:
        """All of an assignment but its name, for each part; the order says what differs."""
        if order and all(part.together for part in order.values()):
            return (_together(self.parts),)
        return tuple(
            self._body(verdict, one, order.get(one.name, one.part))
            for one, verdict in zip(self.parts, self.verdicts, strict=True)
        )

    def _body(self, verdict: Verdict | None, service: Service, part: Part | None) -> bytes:
        if verdict is None:
            raise ValueError(f"{service.name}: no verdict, so nothing can be sent for it")
        key = (service.name, part)
        kept = self.kept.get(key)
        if kept is None:
            held = self.before.kept.get(key) if self.before is not None else None
            kept = self.kept[key] = _fresh(held, verdict, part)
        if kept.body is None:
            kept.body = kept.message.SerializeToString()
        return kept.body


def _together(parts: Sequence[Service]) -> bytes:
    """Whatever their weights are: Envoy chooses among equal endpoints by requests in flight."""
    endpoints = [one for part in parts for one in part.endpoints]
    draining = [one for part in parts for one in part.draining]
    message = endpoint_pb2.ClusterLoadAssignment()
    locality = _locality(message, TOGETHER, endpoints)
    locality.load_balancing_weight.value = 1
    if draining:
        _drain(message, draining)
    part = parts[0].part
    assert part is not None, "what has an order is a part"
    _place(message, replace(part, priority=0))
    return message.SerializeToString()


def _fresh(kept: _Kept | None, verdict: Verdict, part: Part | None) -> _Kept:
    """What was kept before, with the weights of now."""
    weights, grouping = verdict.weights.by_group, verdict.grouping
    endpoints, draining = verdict.service.endpoints, verdict.service.draining
    same_shape = (
        kept is not None
        and (kept.endpoints is endpoints or kept.endpoints == endpoints)
        and kept.draining == draining
        and (kept.grouping is grouping or kept.grouping.same_as(grouping))
    )
    if kept is not None and same_shape:
        if kept.weights != weights:
            _write(kept.message, grouping, weights, part)
            kept.weights, kept.body = weights, None
        return kept
    message = _message(endpoints, grouping)
    _write(message, grouping, weights, part)
    if draining:
        _drain(message, draining)
    if part is not None:
        _place(message, part)
    elif grouping.by_locality:
        message.policy.overprovisioning_factor.value = OVERPROVISIONED_GROUPS
    return _Kept(endpoints, draining, grouping, message, weights)


def _message(
    endpoints: Sequence[Endpoint], grouping: Grouping
) -> endpoint_pb2.ClusterLoadAssignment:
    by_id = {endpoint.id: endpoint for endpoint in endpoints}
    message = endpoint_pb2.ClusterLoadAssignment()
    if grouping.by_locality:
        groups: list[list[EndpointId]] = [[] for _ in grouping.names]
        for endpoint, group in zip(grouping.endpoints, grouping.index.tolist(), strict=True):
            groups[group].append(endpoint)
        for name, members in zip(grouping.names, groups, strict=True):
            _locality(message, name, [by_id[one] for one in members])
    else:
        _locality(message, "", [by_id[one] for one in grouping.endpoints])
    return message


def _drain(message: endpoint_pb2.ClusterLoadAssignment, draining: Sequence[Endpoint]) -> None:
    locality = _locality(message, DRAINING, draining)
    locality.load_balancing_weight.value = 1
    for endpoint in locality.lb_endpoints:
        endpoint.health_status = endpoint_pb2.DRAINING


def _locality(
    message: endpoint_pb2.ClusterLoadAssignment, name: str, members: Sequence[Endpoint]
) -> endpoint_pb2.LocalityLbEndpoints:
    locality = message.endpoints.add()
    places = {member.where for member in members}
    regions = {place.region for place in places}
    where = Zone(
        region=regions.pop() if len(regions) == 1 else "",
        zone=next(iter(places)).zone if len(places) == 1 else "",
    )
    locality.locality.SetInParent()
    locality.locality.region = where.region
    locality.locality.zone = where.zone
    locality.locality.sub_zone = name
    for member in members:
        address = locality.lb_endpoints.add().endpoint.address.socket_address
        address.address = member.address
        address.port_value = member.port
    return locality


def _place(message: endpoint_pb2.ClusterLoadAssignment, part: Part) -> None:
    message.policy.overprovisioning_factor.value = part.overprovisioning_factor
    for locality in message.endpoints:
        locality.priority = part.priority


def _write(
    message: endpoint_pb2.ClusterLoadAssignment,
    grouping: Grouping,
    weights: Sequence[int],
    part: Part | None,
) -> None:
    whole = sum(weights)
    if part is not None and part.weight is not None:
        whole = part.weight * _WEIGHT_OF_PART
    if grouping.by_locality:
        scale = whole / sum(weights)
        for locality, weight in zip(message.endpoints, weights, strict=False):  # or they drain
            locality.load_balancing_weight.value = max(1, round(scale * weight))
        return
    locality = message.endpoints[0]
    locality.load_balancing_weight.value = 1 if part is None or part.weight is None else whole
    for group, endpoint in zip(grouping.index.tolist(), locality.lb_endpoints, strict=True):
        endpoint.load_balancing_weight.value = weights[group]
