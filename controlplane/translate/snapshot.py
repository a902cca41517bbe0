"""What each fleet should run, put together.

A Gateway is a fleet: Envoys whose `node.cluster` is its `namespace/name` (or its bare name where it
is unique) get its listeners, routes, the clusters that these reach, the runtime layer, and endpoint
assignments. Every other Envoy is in the fleet `overlay` and may ask for endpoint assignments alone,
of any Backend by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from controlplane.model import OVERLAY, Orders, Service, ServiceName, Snapshot, Verdict
from controlplane.resources.authorization import ClientAddresses
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.gateway import Listener
from controlplane.resources.topology import Attached, attachments
from controlplane.translate import client_edge, datagrams, streams
from controlplane.translate.encryption import Encryption
from controlplane.translate.endpoints import Assignments
from controlplane.translate.listeners import listeners as listeners_of
from controlplane.translate.options import TranslateOptions
from controlplane.translate.patches import Patches
from controlplane.translate.policies import Policies
from controlplane.translate.ports import Port, ports
from controlplane.translate.reached import Clusters
from controlplane.translate.routes import RouteTables
from controlplane.translate.runtime import LAYER, runtime
from controlplane.translate.security import Secured, Securing, let_go
from controlplane.translate.security.filters import extensions
from controlplane.translate.spread import Reached, Scene
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
_NOTHING: _Resources = MappingProxyType({LISTENER: {}, CLUSTER: {}})
"""All else an Envoy asks for by names that stand in these."""


class Translator:
    """Makes snapshots. Deterministic; what it keeps only saves work and keeps bytes identical."""

    def __init__(self, options: TranslateOptions | None = None) -> None:
        self._options = options or TranslateOptions()
        self._assignments = Assignments()
        self._tables = RouteTables()
        self._securing = Securing(self._options)
        self._patches = Patches(self._options.patcher)
        self._clusters = Clusters(self._options)
        self._declared = Declared()
        self._inputs: tuple[frozenset[str], float] | None = None
        self._fleets: dict[str, _Resources] = {}
        self._asking: dict[str, Sequence[Secured]] = {}
        self._settled = False
        """Whether another pass over the same would come to the same."""

    def snapshots(
        self,
        declared: Declared,
        services: Sequence[Service],
        verdicts: Mapping[ServiceName, Verdict],
        sampling_percent: float = 100.0,
        orders: Orders | None = None,
    ) -> tuple[Snapshot, ...]:
        """One for each Gateway, and the overlay's. `orders` are for Backends of which the Envoys
        of each place get another assignment. Of a Gateway that is to be left alone it holds
        assignments and no other type, so that nothing else of its Envoys is changed; of one that
        was deleted no listener and no cluster.

        `services` are those whose endpoints are known; a Backend that is not among them is treated
        as if it were not there. Raises `ValueError` for a service with endpoints and no verdict.
        """
        common, by_place = self._assignments.resources(services, verdicts, orders)
        known = self._assignments.clusters
        inputs = (known, sampling_percent)
        same = declared is self._declared or (
            self._settled and declared.differs_in_endpoints_alone(self._declared)
        )
        if not same or self._inputs != inputs:
            self._fleets = self._configure(declared, known, sampling_percent)
        self._declared, self._inputs = declared, inputs
        left = declared.left_alone
        fleets = [
            Snapshot(fleet, {**({} if fleet in left else made), ENDPOINT: common}, by_place)
            for fleet, made in self._fleets.items()
        ]
        ended = [Snapshot(one, _NOTHING) for one in declared.fleets if one not in self._fleets]
        return (*fleets, *ended, Snapshot(OVERLAY, {ENDPOINT: common}, by_place))

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
        found = attachments(declared)
        policies = Policies.of(declared, known, self._securing)
        self._settled = True
        fresh = {
            key: self._gateway(Scene(declared, gateway, policies, known), found[key], percent)
            for key, gateway in declared.gateways.items()
        }
        self._patches.use(declared, fresh)
        if self._options.patcher is not None and self._patches.faults:
            self._settled = False  # what failed is tried again
        for fleet, resources in fresh.items():
            for type_url, named in resources.items():
                held = self._fleets.get(fleet, {}).get(type_url, {})
                for name, wire in named.items():
                    before = held.get(name, wire)
                    if before is not wire and before == wire:
                        named[name] = before
        self._asking = {key: self._asking[key] for key in fresh}
        return dict(fresh)

    def _gateway(
        self, scene: Scene, found: Attached, percent: float
    ) -> dict[str, dict[str, bytes]]:
        declared, gateway = scene.declared, scene.gateway
        policies = scene.policies
        shut = policies.shut.get("BackendTLSPolicy", {})
        encryption = Encryption(
            declared, gateway, policies.backend_tls, shut, self._options.system_ca
        )
        secured = scene.policies.secured_in(gateway, found.requests)
        gone = self._let_go(gateway.key, secured)
        self._settled = self._settled and not any(one.asks for one in gone)
        by_udp = [one for one in found.streams if one.listener.at[0]]
        by_tcp = [one for one in found.streams if not one.listener.at[0]]
        connections = streams.destinations(scene, by_tcp)
        sessions = streams.destinations(scene, by_udp)
        destinations = connections | sessions
        reached = Reached.all(
            [
                self._tables.reached(scene, found.requests),
                streams.reached(connections),
                datagrams.reached(sessions),
            ]
        )
        clusters = self._clusters.of(scene, found, reached, secured, gone, encryption)
        listeners: dict[str, bytes] = {}
        tables: dict[str, bytes] = {}
        secrets = {name: wire for one in secured for name, wire in one.secrets.items()}
        secrets |= encryption.secrets
        addresses: dict[str, tuple[ClientAddresses, ...]] = {}
        for port in _ports(scene):
            listeners |= listeners_of(gateway, port, self._options, destinations)
            secrets |= port.held()
            for table in port.tables:
                here = [pair for pair in found.requests if pair[0] in table.listeners]
                tables[table.name] = self._tables.table(table, scene, here)
                addresses[table.name] = scene.policies.addresses_of(gateway, table.listeners)
        return {
            CLUSTER: clusters,
            LISTENER: listeners,
            ROUTE: tables,
            SECRET: secrets,
            EXTENSION: extensions([*secured, *gone], addresses),
            RUNTIME: {LAYER: runtime(percent)},
        }

    def _let_go(self, gateway: str, secured: Sequence[Secured]) -> Sequence[Secured]:
        """Tokens and API keys of policies that the pass before had and this one has not.

        Envoy takes what routes name before the routes, and refuses what routes of before ask for by
        a name that is not there. So these stay for one pass more, when no route asks.
        """
        before = self._asking.get(gateway, ())
        self._asking[gateway] = [one for one in secured if one.asks]
        return let_go(before, secured)


def _ports(scene: Scene) -> Iterator[Port]:
    """The ports of a Gateway, with what in ClientPolicies refers to other objects."""
    declared, gateway, known = scene.declared, scene.gateway, frozenset(scene.known)

    def said(listener: Listener) -> ClientPolicy | None:
        return scene.policies.client_policy(gateway, listener)

    for port in ports(declared, gateway, scene.policies.client):
        tables = (
            replace(
                one,
                more=client_edge.of_manager(said(one.listeners[0]), declared, known, gateway.key),
            )
            for one in port.tables
        )
        passages = (
            replace(one, logs=client_edge.of_connections(said(one.listener), declared, known))
            for one in port.passages
        )
        yield replace(port, tables=tuple(tables), passages=tuple(passages))
