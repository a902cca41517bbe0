"""The clusters of a Gateway: for Backends, for classes with limits, for Backends that fail over."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import NamedTuple

from controlplane.resources.backend_protocols import in_http_2
from controlplane.resources.connections import CircuitBreaker
from controlplane.resources.topology import Attached
from controlplane.resources.traffic_policy import OfConnections, TrafficPolicy
from controlplane.translate import datagrams
from controlplane.translate.clusters import (
    UNRESOLVED,
    USUAL,
    asked,
    closed,
    cluster,
    cluster_over_http_2,
    over_http_2,
)
from controlplane.translate.encryption import Encryption
from controlplane.translate.failover import aggregate, chain
from controlplane.translate.options import TranslateOptions
from controlplane.translate.routes import needs_unresolved
from controlplane.translate.security import Secured
from controlplane.translate.spread import Reached, Scene


class Clusters:
    """Makes the clusters of Gateways; one is made again when another object says more of it."""

    def __init__(self, options: TranslateOptions) -> None:
        self._options = options
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._asking: dict[str, frozenset[_Asked]] = {}
        """By Gateway, who is asked by its policies, or was: with its cluster Envoy would drop the
        questions that are still underway."""

    def of(
        self,
        scene: Scene,
        attached: Attached,
        found: Reached,
        secured: Sequence[Secured],
        let_go: Sequence[Secured],
        encryption: Encryption,
    ) -> dict[str, bytes]:
        """By name, those that the routes of a Gateway reach, and its policies; those that it lets
        go are kept a while. One whose requests must be encrypted, for nobody who could be believed,
        is closed."""
        said = scene.policies.of_backends(scene.declared, scene.gateway, attached.pairs)
        heads = {name for members in found.chains for name in members[:-1]}
        fleet, http_2 = scene.gateway.key, in_http_2(scene.declared, attached)

        def made(backend: str, name: str, limits: CircuitBreaker | None = None) -> bytes:
            encrypted = encryption.part(backend)
            if encrypted is None:
                return closed(name)
            fails_over = name in heads or backend in scene.policies.by_place
            spoken = (said.get(backend), limits, fails_over, backend in http_2)
            return self._cluster(fleet, backend, name, spoken) + encrypted

        asking = self._asked_by(scene, attached, secured)
        backends = found.backends | {one.backend for one in asking if not one.over_http_2}
        out = {key: made(key, key) for key in sorted(backends)}
        for key, kind in sorted(found.classed, key=lambda one: (one[0], one[1].name)):
            name = kind.cluster(key)
            out[name] = made(key, name, kind.one.circuit_breaker)
        for place in [one for one in self._kept if one[0] == fleet and one[1] not in out]:
            del self._kept[place]
        for policy in (*secured, *let_go):
            out |= policy.clusters
        for one in sorted(asking):
            name = one.backend
            if one.over_http_2:
                name = over_http_2(one.backend)
                out |= self._over_http_2(one.backend, said.get(one.backend), encryption)
            out[asked(name)] = aggregate([name], asked(name))
        for backend in sorted(found.datagrams):
            out |= self._over_udp(backend, said.get(backend), encryption)
        out |= {chain(members): aggregate(members) for members in sorted(found.chains)}
        if found.closing or (found.waiting and needs_unresolved(scene, attached.requests)):
            out[UNRESOLVED] = closed(UNRESOLVED)
        return out

    def _asked_by(
        self, scene: Scene, attached: Attached, secured: Sequence[Secured]
    ) -> frozenset[_Asked]:
        """Who is asked, or was and is still there."""
        called = scene.policies.services(scene.declared, scene.gateway, attached.requests)
        now = {_Asked(one.backend, one.over_http_2) for one in secured}
        now |= {_Asked(backend, True) for backend in called}
        before = self._asking.get(scene.gateway.key, frozenset())
        found = frozenset(one for one in now | before if one.backend in scene.known)
        self._asking[scene.gateway.key] = found
        return found

    def _over_http_2(
        self, backend: str, policy: TrafficPolicy | None, encryption: Encryption
    ) -> dict[str, bytes]:
        name, encrypted = over_http_2(backend), encryption.part(backend)
        if encrypted is None:
            return {name: closed(name)}
        spec = policy.spec if policy is not None else USUAL
        return {name: cluster_over_http_2(backend, self._options, spec) + encrypted}

    def _over_udp(
        self, backend: str, policy: TrafficPolicy | None, encryption: Encryption
    ) -> dict[str, bytes]:
        """Datagrams are not encrypted: where that is wanted, none is sent."""
        name = datagrams.over_udp(backend)
        if encryption.part(backend) != b"":
            return {name: closed(name)}
        spec = datagrams.limited(policy.spec) if policy is not None else datagrams.USUALLY
        return {name: cluster(backend, self._options, spec, name=name, of_udp=True)}

    def _cluster(self, fleet: str, backend: str, name: str, said: _Said) -> bytes:
        kept = self._kept.get((fleet, name))
        if kept is None or not all(map(is_, kept[0], said)):
            policy, limits, fails_over, http_2 = said
            spec = _spec(policy, limits, fails_over)
            kept = (said, cluster(backend, self._options, spec, name=name, http_2=http_2))
            self._kept[fleet, name] = kept
        return kept[1]


class _Asked(NamedTuple):
    """A Backend that filters ask about requests."""

    backend: str
    over_http_2: bool


_Said = tuple[TrafficPolicy | None, CircuitBreaker | None, bool, bool]
"""The policy of a Backend, other limits than it has, whether its requests can go elsewhere, and
whether it is spoken to in HTTP/2."""
_Kept = tuple[_Said, bytes]


def _spec(
    policy: TrafficPolicy | None, limits: CircuitBreaker | None, fails_over: bool
) -> OfConnections:
    spec: OfConnections = policy.spec if policy is not None else USUAL
    if fails_over:
        spec = failing_over(spec)
    return spec if limits is None else spec.model_copy(update={"circuit_breaker": limits})


def failing_over(spec: OfConnections) -> OfConnections:
    """Where requests can go elsewhere all endpoints may be taken out, unless a policy says how
    many. Should that be too many, Envoy's panic threshold still has all of them serve."""
    passive = spec.health_check.passive
    if "max_ejection_percent" in passive.model_fields_set:
        return spec
    passive = passive.model_copy(update={"max_ejection_percent": 100})
    check = spec.health_check.model_copy(update={"passive": passive})
    return spec.model_copy(update={"health_check": check})
