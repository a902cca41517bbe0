"""Endpoint assignments: the one resource that changes every second, so the one made to be cheap.

One C-backed message is kept for each service. New weights are written into it and it is serialised
again; the same bytes then carry the full name and, where it is unique, the bare name.

A group is a locality of its own: its sub-zone is the name of the group, its region and zone those
of its endpoints where they agree. Endpoints of a group are equal. Without groups there is one
locality, and each endpoint has its weight.

Endpoints that drain are a locality of their own, DRAINING: Envoy leaves it out of the shares of the
others and of its panic threshold, and nothing but a session leads there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane._pb import endpoint_pb2
from controlplane.model import Endpoint, EndpointId, Grouping, Service, ServiceName, Verdict, Zone
from controlplane.translate.wire import prefixed

_CLUSTER_NAME = 1

DRAINING = "weir.dev/draining"
"""The sub-zone of endpoints that drain."""

EMPTY = b""
"""The body of an assignment without endpoints. Sent only where the declaration says so."""


@dataclass(slots=True)
class _Kept:
    endpoints: tuple[Endpoint, ...]
    draining: tuple[Endpoint, ...]
    grouping: Grouping
    message: endpoint_pb2.ClusterLoadAssignment
    weights: tuple[int, ...]
    named: dict[str, bytes]


class Assignments:
    """Makes endpoint assignments and keeps one message for each service."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._empty: dict[str, bytes] = {}

    def resources(
        self, services: Sequence[Service], verdicts: Mapping[ServiceName, Verdict]
    ) -> dict[str, bytes]:
        """By `namespace/name`, and by the bare name where it is unique.

        Raises `ValueError` for a service that has endpoints and no verdict: an assignment is never
        made up here.
        """
        bare: dict[str, int] = {}
        for service in services:
            name = service.name.partition("/")[2]
            bare[name] = bare.get(name, 0) + 1
        out: dict[str, bytes] = {}
        for service in services:
            names = [str(service.name)]
            short = service.name.partition("/")[2]
            if bare[short] == 1:
                names.append(short)
            out.update(self._named(service, verdicts.get(service.name), names))
        self._kept = {key: kept for key, kept in self._kept.items() if key in out}
        self._empty = {key: wire for key, wire in self._empty.items() if key in out}
        return out

    def _named(
        self, service: Service, verdict: Verdict | None, names: Sequence[str]
    ) -> Mapping[str, bytes]:
        if not service.endpoints:
            self._kept.pop(service.name, None)
            for name in names:
                self._empty.setdefault(name, prefixed(_CLUSTER_NAME, name.encode()) + EMPTY)
            return {name: self._empty[name] for name in names}
        if verdict is None:
            raise ValueError(f"{service.name}: no verdict, so nothing can be sent for it")
        kept = self._fresh(service.name, verdict)
        if any(name not in kept.named for name in names):
            body = kept.message.SerializeToString()
            for name in names:
                kept.named.setdefault(name, prefixed(_CLUSTER_NAME, name.encode()) + body)
        return {name: kept.named[name] for name in names}

    def _fresh(self, name: str, verdict: Verdict) -> _Kept:
        """What is kept for the service, with these weights."""
        kept = self._kept.get(name)
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
                _write(kept.message, grouping, weights)
                kept.weights, kept.named = weights, {}
            return kept
        message = _message(endpoints, grouping)
        _write(message, grouping, weights)
        if draining:
            _drain(message, draining)
        kept = self._kept[name] = _Kept(endpoints, draining, grouping, message, weights, {})
        return kept


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


def _write(
    message: endpoint_pb2.ClusterLoadAssignment, grouping: Grouping, weights: Sequence[int]
) -> None:
    if grouping.by_locality:
        for locality, weight in zip(message.endpoints, weights, strict=False):  # or they drain
            locality.load_balancing_weight.value = weight
        return
    locality = message.endpoints[0]
    locality.load_balancing_weight.value = 1
    for group, endpoint in zip(grouping.index.tolist(), locality.lb_endpoints, strict=True):
        endpoint.load_balancing_weight.value = weights[group]
