"""What each fleet should run, put together.

A Gateway is a fleet: Envoys whose `node.cluster` is its `namespace/name` (or its bare name where it
is unique) get its listeners, routes, the clusters that these reach, the runtime layer, and endpoint
assignments. Every other Envoy is in the fleet `overlay` and may ask for endpoint assignments alone,
of any Backend by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.model import OVERLAY, Service, ServiceName, Snapshot, Verdict
from controlplane.resources.authorization import ClientAddresses
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.topology import attached
from controlplane.resources.traffic_policy import TrafficPolicy
from controlplane.translate import client_edge
from controlplane.translate.clusters import (
    UNRESOLVED,
    cluster,
    cluster_over_http_2,
    over_http_2,
    unresolved,
)
from controlplane.translate.endpoints import Assignments
from controlplane.translate.listeners import listener
from controlplane.translate.options import TranslateOptions
from controlplane.translate.patches import Patches
from controlplane.translate.policies import Policies
from controlplane.translate.ports import Port, ports
from controlplane.translate.routes import Pair, RouteTables, Scene, needs_unresolved
from controlplane.translate.runtime import LAYER, runtime
from controlplane.translate.secrets import certificate
from controlplane.translate.security import Secured, Securing
from controlplane.translate.security.filters import extensions
from controlplane.translate.types import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    LISTENER,
    ROUTE,
    RUNTIME,
    SECRET,
)

_Resources = Mapping[str, Mapping[str, bytes]]


class Translator:
    """Makes snapshots. Deterministic; what it keeps only saves work and keeps bytes identical."""

    def __init__(self, options: TranslateOptions | None = None) -> None:
        self._options = options or TranslateOptions()
        self._assignments = Assignments()
        self._tables = RouteTables()
        self._securing = Securing(self._options)
        self._patches = Patches(self._options.patcher)
        self._held: dict[tuple[str, str, str], bytes] = {}
        self._clusters: dict[tuple[str, str], tuple[tuple[TrafficPolicy | None, ...], bytes]] = {}
        self._declared = Declared()
        self._inputs: tuple[frozenset[str], float] | None = None
        self._fleets: dict[str, _Resources] = {}
        self._asking: dict[str, Sequence[Secured]] = {}

    def snapshots(
        self,
        declared: Declared,
        services: Sequence[Service],
        verdicts: Mapping[ServiceName, Verdict],
        sampling_percent: float = 100.0,
    ) -> tuple[Snapshot, ...]:
        """One for each Gateway, and the overlay's.

        `services` are those whose endpoints are known; a Backend that is not among them is treated
        as if it were not there. Raises `ValueError` for a service with endpoints and no verdict.
        """
        known = frozenset(str(service.name) for service in services)
        inputs = (known, sampling_percent)
        if self._declared is not declared or self._inputs != inputs:
            self._fleets = self._configure(declared, known, sampling_percent)
            self._declared, self._inputs = declared, inputs
        assignments = self._assignments.resources(services, verdicts)
        fleets = [
            Snapshot(fleet, {**resources, ENDPOINT: assignments})
            for fleet, resources in self._fleets.items()
        ]
        return (*fleets, Snapshot(OVERLAY, {ENDPOINT: assignments}))

    @property
    def patch_faults(self) -> Mapping[ObjectKey, str]:
        """Why an EnvoyPatch, as it is written now, is not used."""
        return self._patches.faults

    def _configure(
        self, declared: Declared, known: frozenset[str], percent: float
    ) -> dict[str, _Resources]:
        same_known = self._inputs is not None and self._inputs[0] == known
        alike = same_known and declared.differs_in_routes_alone(self._declared)
        self._tables.begin(alike=alike)
        pairs = attached(declared)
        policies = Policies.of(declared, known, self._securing)
        fresh = {
            key: self._gateway(Scene(declared, gateway, policies, known), pairs[key], percent)
            for key, gateway in declared.gateways.items()
        }
        self._patches.use(declared, fresh)
        held: dict[tuple[str, str, str], bytes] = {}
        for fleet, resources in fresh.items():
            for type_url, named in resources.items():
                for name, wire in named.items():
                    place = (fleet, type_url, name)
                    before = self._held.get(place)
                    held[place] = named[name] = before if before == wire else wire
        self._held = held
        self._asking = {key: self._asking[key] for key in fresh}
        return dict(fresh)

    def _gateway(
        self, scene: Scene, pairs: Sequence[Pair], percent: float
    ) -> dict[str, dict[str, bytes]]:
        declared, gateway = scene.declared, scene.gateway
        secured = scene.policies.secured_in(gateway, pairs)
        let_go = self._let_go(gateway.key, secured)
        clusters = self._clusters_of(scene, pairs, secured)
        for one in (*secured, *let_go):
            clusters |= one.clusters
        listeners: dict[str, bytes] = {}
        tables: dict[str, bytes] = {}
        secrets = {name: wire for one in secured for name, wire in one.secrets.items()}
        addresses: dict[str, tuple[ClientAddresses, ...]] = {}
        for port in ports(declared, gateway):
            listeners[port.name] = listener(
                gateway, port, scene.policies, self._options, _managers(scene, port)
            )
            for table in port.tables:
                here = [pair for pair in pairs if pair[0] in table.listeners]
                tables[table.name] = self._tables.table(table, scene, here)
                secrets |= {one.key: certificate(one) for one in table.certificates}
                addresses[table.name] = scene.policies.addresses_of(gateway, table.listeners)
        return {
            CLUSTER: clusters,
            LISTENER: listeners,
            ROUTE: tables,
            SECRET: secrets,
            EXTENSION: extensions([*secured, *let_go], addresses),
            RUNTIME: {LAYER: runtime(percent)},
        }

    def _let_go(self, gateway: str, secured: Sequence[Secured]) -> Sequence[Secured]:
        """Policies with tokens that the pass before had and this one has not.

        Envoy takes the tokens' providers before the routes, and refuses what routes of before ask
        for by a policy that is not there. So these stay for one pass more, when no route asks.
        """
        asking = [one for one in secured if one.requirement is not None]
        here = {one.policy for one in asking}
        before = self._asking.get(gateway, ())
        self._asking[gateway] = asking
        return [one for one in before if one.policy not in here]

    def _clusters_of(
        self, scene: Scene, pairs: Sequence[Pair], secured: Sequence[Secured]
    ) -> dict[str, bytes]:
        declared, fleet = scene.declared, scene.gateway.key
        targets = self._tables.targets(scene, pairs)
        asked = {one.backend for one in secured if one.backend}
        reached = sorted({one for one in targets if one and one != UNRESOLVED} | asked)
        said = scene.policies.of_backends(declared, scene.gateway, pairs)
        clusters = {name: self._cluster(fleet, name, said.get(name)) for name in reached}
        for place in [one for one in self._clusters if one[0] == fleet and one[1] not in clusters]:
            del self._clusters[place]
        if UNRESOLVED in targets and needs_unresolved(declared, pairs, scene.known):
            clusters[UNRESOLVED] = unresolved()
        called = {one.backend for one in secured if one.over_http_2}
        called |= scene.policies.services(declared, scene.gateway, pairs) & set(scene.known)
        for backend in sorted(called):
            made = cluster_over_http_2(backend, self._options, said.get(backend))
            clusters[over_http_2(backend)] = made
        return clusters

    def _cluster(self, fleet: str, name: str, *said: TrafficPolicy | None) -> bytes:
        """Made again when another object says something of it."""
        kept = self._clusters.get((fleet, name))
        if kept is None or any(a is not b for a, b in zip(kept[0], said, strict=True)):
            made = cluster(name, self._options, *said)
            kept = self._clusters[fleet, name] = (said, made)
        return kept[1]


def _managers(scene: Scene, port: Port) -> dict[str, bytes]:
    """What ClientPolicies add to the connection manager of each table of a port."""
    known = frozenset(scene.known)
    gateway = scene.gateway
    return {
        table.name: client_edge.of_manager(
            scene.policies.client_policy(gateway, table.listeners[0]),
            scene.declared,
            known,
            gateway.key,
        )
        for table in port.tables
    }
