"""What each fleet should run, put together.

A Gateway is a fleet: Envoys whose `node.cluster` is its `namespace/name` (or its bare name where it
is unique) get its listeners, routes, the clusters that these reach, the runtime layer, and endpoint
assignments. Every other Envoy is in the fleet `overlay` and may ask for endpoint assignments alone,
of any Backend by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.model import OVERLAY, Service, ServiceName, Snapshot, Verdict
from controlplane.resources.declared import Declared
from controlplane.resources.topology import attached, backends_of
from controlplane.translate import client_edge
from controlplane.translate.clusters import UNRESOLVED, cluster, unresolved
from controlplane.translate.endpoints import Assignments
from controlplane.translate.listeners import listener
from controlplane.translate.options import TranslateOptions
from controlplane.translate.policies import Policies
from controlplane.translate.ports import Port, ports
from controlplane.translate.routes import Pair, RouteTables, Scene, needs_unresolved
from controlplane.translate.runtime import LAYER, runtime
from controlplane.translate.secrets import certificate
from controlplane.translate.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, SECRET

_Resources = Mapping[str, Mapping[str, bytes]]


class Translator:
    """Makes snapshots. Deterministic; what it keeps only saves work and keeps bytes identical."""

    def __init__(self, options: TranslateOptions | None = None) -> None:
        self._options = options or TranslateOptions()
        self._assignments = Assignments()
        self._tables = RouteTables()
        self._held: dict[tuple[str, str, str], bytes] = {}
        self._inputs: tuple[object, ...] = ()
        self._fleets: dict[str, _Resources] = {}

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
        inputs = (declared, known, sampling_percent)
        if not self._inputs or self._inputs[0] is not declared or self._inputs[1:] != inputs[1:]:
            self._fleets = self._configure(declared, known, sampling_percent)
            self._inputs = inputs
        assignments = self._assignments.resources(services, verdicts)
        fleets = [
            Snapshot(fleet, {**resources, ENDPOINT: assignments})
            for fleet, resources in self._fleets.items()
        ]
        return (*fleets, Snapshot(OVERLAY, {ENDPOINT: assignments}))

    def _configure(
        self, declared: Declared, known: frozenset[str], percent: float
    ) -> dict[str, _Resources]:
        self._tables.begin()
        pairs = attached(declared)
        policies = Policies.of(declared)
        fresh = {
            key: self._gateway(Scene(declared, gateway, policies, known), pairs[key], percent)
            for key, gateway in declared.gateways.items()
        }
        held: dict[tuple[str, str, str], bytes] = {}
        for fleet, resources in fresh.items():
            for type_url, named in resources.items():
                for name, wire in named.items():
                    place = (fleet, type_url, name)
                    before = self._held.get(place)
                    held[place] = named[name] = before if before == wire else wire
        self._held = held
        return dict(fresh)

    def _gateway(
        self, scene: Scene, pairs: Sequence[Pair], percent: float
    ) -> dict[str, dict[str, bytes]]:
        declared, gateway, known = scene.declared, scene.gateway, scene.known
        services = scene.policies.services(declared, gateway, pairs) & set(known)
        reached = {key for _, route in pairs for key in backends_of(declared, route)} & set(known)
        reached |= services
        said = scene.policies.of_backends(declared, gateway, pairs)
        clusters = {
            key: cluster(key, self._options, said.get(key), grpc=key in services)
            for key in sorted(reached)
        }
        if needs_unresolved(declared, pairs, known):
            clusters[UNRESOLVED] = unresolved()
        listeners: dict[str, bytes] = {}
        tables: dict[str, bytes] = {}
        secrets: dict[str, bytes] = {}
        for port in ports(declared, gateway):
            listeners[port.name] = listener(
                gateway, port, scene.policies, self._options, _managers(scene, port)
            )
            for table in port.tables:
                here = [pair for pair in pairs if pair[0] in table.listeners]
                tables[table.name] = self._tables.table(table, scene, here)
                secrets |= {one.key: certificate(one) for one in table.certificates}
        return {
            CLUSTER: clusters,
            LISTENER: listeners,
            ROUTE: tables,
            SECRET: secrets,
            RUNTIME: {LAYER: runtime(percent)},
        }


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
