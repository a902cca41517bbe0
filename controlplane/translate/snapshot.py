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
from controlplane.resources.grpc_route import CallRoute
from controlplane.resources.topology import Attached, attached, backends_of
from controlplane.translate import streams
from controlplane.translate.clusters import UNRESOLVED, cluster, unresolved
from controlplane.translate.endpoints import Assignments
from controlplane.translate.listeners import listener
from controlplane.translate.options import TranslateOptions
from controlplane.translate.policies import Policies
from controlplane.translate.ports import ports
from controlplane.translate.routes import RouteTables, Scene, needs_unresolved
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
        found = attached(declared)
        policies = Policies.of(declared)
        fresh = {
            key: self._gateway(Scene(declared, gateway, policies, known), found[key], percent)
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
        self, scene: Scene, found: Attached, percent: float
    ) -> dict[str, dict[str, bytes]]:
        declared, gateway, known = scene.declared, scene.gateway, scene.known
        clusters = self._clusters(scene, found)
        destinations = streams.destinations(declared, found.streams, known)
        if needs_unresolved(declared, found.requests, known) or any(
            UNRESOLVED in dict(one) for one in destinations.values()
        ):
            clusters[UNRESOLVED] = unresolved()
        listeners: dict[str, bytes] = {}
        tables: dict[str, bytes] = {}
        secrets: dict[str, bytes] = {}
        for port in ports(declared, gateway):
            listeners[port.name] = listener(
                gateway, port, scene.policies, self._options, destinations
            )
            secrets |= {one.key: certificate(one) for one in port.certificates}
            for table in port.tables:
                here = [pair for pair in found.requests if pair[0] in table.listeners]
                tables[table.name] = self._tables.table(table, scene, here)
        return {
            CLUSTER: clusters,
            LISTENER: listeners,
            ROUTE: tables,
            SECRET: secrets,
            RUNTIME: {LAYER: runtime(percent)},
        }

    def _clusters(self, scene: Scene, found: Attached) -> dict[str, bytes]:
        """Those of the Backends that the routes reach; calls of gRPC need HTTP/2."""
        reached: set[str] = set()
        called: set[str] = set()
        for _, route in found.pairs:
            backends = set(backends_of(scene.declared, route)) & set(scene.known)
            reached |= backends
            called |= backends if isinstance(route, CallRoute) else set()
        said = scene.policies.of_backends(scene.declared, scene.gateway, found.pairs)
        return {
            key: cluster(
                key,
                self._options,
                said.get(key),
                http2=key in called or scene.declared.backends[key].spec.h2c,
            )
            for key in sorted(reached)
        }
