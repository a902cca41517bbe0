"""In which HTTP Backends are spoken to, and what needs another than they speak."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.resources.attachment import of_backends, winners
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.grpc_route import CallRoute
from controlplane.resources.topology import Attached, Unresolved, attachments, backends_of
from controlplane.resources.traffic_policy import TrafficPolicy


def in_http_2(declared: Declared, found: Attached) -> frozenset[str]:
    """The Backends that Envoys of a Gateway speak HTTP/2 with: they say so themselves, or answer
    calls of gRPC that its routes, `found`, lead to them."""
    return declared.h2c.union(
        *(
            backends_of(declared, route)
            for _, route in found.requests
            if isinstance(route, CallRoute)
        )
    )


def unasked(declared: Declared) -> Iterator[tuple[ObjectKey, str, Unresolved]]:
    """Policies that want Backends asked by gRPC which are spoken to in HTTP/1.1."""
    of = winners(declared, TrafficPolicy)
    if not any(_asks_by_grpc(one) for one in of.values()):
        return
    told = set[tuple[str, str]]()
    for gateway, found in attachments(declared).items():
        able = in_http_2(declared, found)
        routes = [route for _, route in found.pairs]
        reached = {key for route in routes for key in backends_of(declared, route)}
        said = of_backends(declared, of, routes, {gateway: found.pairs})
        for backend in sorted(reached - able):
            policy = said.get(backend)
            if policy is None or not _asks_by_grpc(policy) or (policy.key, backend) in told:
                continue
            told.add((policy.key, backend))
            yield (
                ObjectKey("TrafficPolicy", policy.key),
                "spec.healthCheck.active",
                Unresolved(
                    f"Backend {backend} is spoken to in HTTP/1.1, which carries no gRPC; its "
                    "endpoints are not asked",
                    "give the Backend appProtocols: [kubernetes.io/h2c], or lead to it by a "
                    "GRPCRoute",
                ),
            )


def _asks_by_grpc(policy: TrafficPolicy) -> bool:
    active = policy.spec.health_check.active
    return active is not None and active.type == "GRPC"
