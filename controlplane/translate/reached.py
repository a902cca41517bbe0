"""The clusters of a Gateway: for Backends, for classes with limits, for Backends that fail over."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.resources.topology import backends_of
from controlplane.resources.traffic_policy import OfConnections
from controlplane.translate.clusters import (
    UNRESOLVED,
    cluster,
    cluster_over_http_2,
    over_http_2,
    unresolved,
)
from controlplane.translate.failover import aggregate, chain
from controlplane.translate.options import TranslateOptions
from controlplane.translate.routes import needs_unresolved
from controlplane.translate.security import Secured
from controlplane.translate.spread import Pair, Scene, reached

_USUAL = OfConnections()


def clusters(
    scene: Scene,
    pairs: Sequence[Pair],
    secured: Sequence[Secured],
    let_go: Sequence[Secured],
    options: TranslateOptions,
) -> dict[str, bytes]:
    """By name, those that the routes of a Gateway reach, and its policies; those that it lets go
    are kept a while."""
    found = reached(scene, pairs)
    said = scene.policies.of_backends(scene.declared, scene.gateway, pairs)
    heads = {name for members in found.chains for name in members[:-1]}

    def made(backend: str, name: str, update: dict[str, object]) -> bytes:
        spec: OfConnections = said[backend].spec if backend in said else _USUAL
        if name in heads or backend in scene.policies.by_place:
            spec = failing_over(spec)
        return cluster(backend, options, spec.model_copy(update=update), name=name)

    named = {key for _, route in pairs for key in backends_of(scene.declared, route)}
    named |= {one.backend for one in secured}
    out = {key: made(key, key, {}) for key in sorted(named & set(scene.known))}
    for key, kind in sorted(found.classed, key=lambda one: (one[0], one[1].name)):
        name = kind.cluster(key)
        out[name] = made(key, name, {"circuit_breaker": kind.one.circuit_breaker})
    for policy in (*secured, *let_go):
        out |= policy.clusters
    for policy in secured:
        if policy.over_http_2:
            spec = said[policy.backend].spec if policy.backend in said else _USUAL
            out[over_http_2(policy.backend)] = cluster_over_http_2(policy.backend, options, spec)
    out |= {chain(members): aggregate(members) for members in sorted(found.chains)}
    if needs_unresolved(scene, pairs):
        out[UNRESOLVED] = unresolved()
    return out


def failing_over(spec: OfConnections) -> OfConnections:
    """Where requests can go elsewhere all endpoints may be taken out, unless a policy says how
    many. Should that be too many, Envoy's panic threshold still has all of them serve."""
    passive = spec.health_check.passive
    if "max_ejection_percent" in passive.model_fields_set:
        return spec
    passive = passive.model_copy(update={"max_ejection_percent": 100})
    check = spec.health_check.model_copy(update={"passive": passive})
    return spec.model_copy(update={"health_check": check})
