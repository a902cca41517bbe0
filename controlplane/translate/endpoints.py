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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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


class Assigned(NamedTuple):
    """Assignments by `namespace/name`, and by the bare name where it is unique."""

    common: Mapping[str, bytes]
    by_place: Mapping[Zone, Mapping[str, bytes]]
    """Those that are others for the Envoys of a place."""


class Assignments:
    """Makes endpoint assignments. One message is kept for each service, and for each priority and
    weight that a part has for the Envoys of some place."""

    def __init__(self) -> None:
        self._kept: dict[tuple[ServiceName, Part | None], _Kept] = {}
        self._named: dict[tuple[ServiceName, Zone | None], _Named] = {}
        self._empty: dict[str, bytes] = {}

    def resources(
        self,
        services: Sequence[Service],
        verdicts: Mapping[ServiceName, Verdict],
        orders: Orders | None = None,
    ) -> Assigned:
        """Raises `ValueError` for a service that has endpoints and no verdict: an assignment is
        never made up here.
        """
        kept, named, self._kept, self._named = self._kept, self._named, {}, {}
        clusters: dict[ServiceName, list[Service]] = {}
        for service in services:
            clusters.setdefault(service.cluster, []).append(service)
        bare = Counter(name.partition("/")[2] for name in clusters)
        common: dict[str, bytes] = {}
        by_place: dict[Zone, dict[str, bytes]] = {}
        for cluster, parts in clusters.items():
            short = cluster.partition("/")[2]
            names = [str(cluster), short] if bare[short] == 1 else [str(cluster)]
            if not any(part.endpoints for part in parts):
                common.update(self._nowhere(names))
                continue
            bodies = self._bodies(parts, {}, verdicts, kept)
            common.update(self._assignments((cluster, None), bodies, names, named))
            for place, order in (orders or {}).get(cluster, {}).items():
                here = self._bodies(parts, order, verdicts, kept)
                if here != bodies:
                    made = self._assignments((cluster, place), here, names, named)
                    by_place.setdefault(place, {}).update(made)
        self._empty = {key: wire for key, wire in self._empty.items() if key in common}
        return Assigned(common, by_place)

    def _nowhere(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """The assignment without endpoints, by each of its names."""
        for name in names:
            self._empty.setdefault(name, prefixed(_CLUSTER_NAME, name.encode()) + EMPTY)
        return {name: self._empty[name] for name in names}

    def _assignments(
        self,
        key: tuple[ServiceName, Zone | None],
        bodies: tuple[bytes, ...],
        names: Sequence[str],
        before: Mapping[tuple[ServiceName, Zone | None], _Named],
    ) -> Mapping[str, bytes]:
        """The assignment of a cluster by each of its names: those of its parts, one after another,
        are one."""
        named = before.get(key)
        if named is None or named.bodies != bodies:
            named = _Named(bodies, {})
        self._named[key] = named
        for name in names:
            if name not in named.wires:
                named.wires[name] = prefixed(_CLUSTER_NAME, name.encode()) + b"".join(bodies)
        return {name: named.wires[name] for name in names}

    def _bodies(
        self,
        parts: Sequence[Service],
        order: Order,
        verdicts: Mapping[ServiceName, Verdict],
        before: Mapping[tuple[ServiceName, Part | None], _Kept],
    ) -> tuple[bytes, ...]:
        """All of an assignment but its name, for each part; the order says what differs."""
        if order and all(part.together for part in order.values()):
            return (_together(parts),)
        return tuple(
            self._body(verdicts.get(one.name), one, order.get(one.name, one.part), before)
            for one in parts
        )

    def _body(
        self,
        verdict: Verdict | None,
        service: Service,
        part: Part | None,
        before: Mapping[tuple[ServiceName, Part | None], _Kept],
    ) -> bytes:
        if verdict is None:
            raise ValueError(f"{service.name}: no verdict, so nothing can be sent for it")
        key = (service.name, part)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _fresh(before.get(key), verdict, part)
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
