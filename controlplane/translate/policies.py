"""The policies in force, looked up once for each `Declared`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.resources.attachment import (
    Winners,
    of_backends,
    of_listener,
    of_rule,
    winners,
)
from controlplane.resources.client_policy import ClientPolicy, ClientPolicySpec
from controlplane.resources.declared import Declared
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.policy_references import service_backends, services_of
from controlplane.resources.route import HttpRoute, Rule
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.target import Policy
from controlplane.resources.traffic_policy import TrafficPolicy
from controlplane.translate import security, traffic
from controlplane.translate.extensions import Extensions


class RulePolicies(NamedTuple):
    """What is said of the requests of a rule."""

    traffic: TrafficPolicy | None = None
    security: SecurityPolicy | None = None
    extensions: Extensions = Extensions()

    def of_route(self) -> bytes:
        """The part of a Route; what the route itself says comes after it and goes before."""
        return security.of_route(self.security) + traffic.of_route(self.traffic, self.extensions)


@dataclass(frozen=True, slots=True, eq=False)
class Policies:
    """Of every kind, by target."""

    client: Winners[ClientPolicy]
    traffic: Winners[TrafficPolicy]
    security: Winners[SecurityPolicy]
    extensions: Mapping[str, Extensions]
    """By the key of the TrafficPolicy."""

    @classmethod
    def of(cls, declared: Declared) -> Policies:
        """Those that are declared."""
        return cls(
            winners(declared, ClientPolicy),
            winners(declared, TrafficPolicy),
            winners(declared, SecurityPolicy),
            {key: Extensions.of(declared, one) for key, one in declared.all(TrafficPolicy).items()},
        )

    def of_listener(self, gateway: Gateway, listener: Listener) -> ClientPolicySpec | None:
        """How clients of a listener are spoken with; None: as is usual."""
        found = self.client_policy(gateway, listener)
        return found.spec if found is not None else None

    def client_policy(self, gateway: Gateway, listener: Listener) -> ClientPolicy | None:
        """The policy that says so."""
        return of_listener(self.client, gateway, listener)

    def of_rule(
        self, gateway: Gateway, listener: Listener, route: HttpRoute, rule: Rule
    ) -> RulePolicies:
        """What is said of the requests of a rule that come in by a listener."""
        if not self.traffic and not self.security:
            return _NONE
        place = (gateway, listener, route, rule)
        said = of_rule(self.traffic, *place)
        found = self.extensions[said.key] if said is not None else Extensions()
        return RulePolicies(said, of_rule(self.security, *place), found)

    def of_backends(
        self, declared: Declared, gateway: Gateway, pairs: Sequence[tuple[Listener, HttpRoute]]
    ) -> Mapping[str, TrafficPolicy]:
        """What is said of the connections of a Gateway to its Backends."""
        routes = {route.key: route for _, route in pairs}
        return of_backends(declared, self.traffic, routes.values(), {gateway.key: pairs})

    def services(
        self, declared: Declared, gateway: Gateway, pairs: Sequence[tuple[Listener, HttpRoute]]
    ) -> frozenset[str]:
        """The Backends that the Envoys of a Gateway call for its policies, over gRPC."""
        called = {
            policy.key: tuple(service_backends(declared, policy))
            for policy in {id(one): one for one in self.traffic.values()}.values()
            if any(services_of(policy))
        }
        client: list[Policy | None] = [
            of_listener(self.client, gateway, listener) for listener in gateway.spec.listeners
        ]
        found = {key for one in client if one for key in service_backends(declared, one)}
        if called:
            for listener, route in pairs:
                for rule in route.spec.rules:
                    policy = of_rule(self.traffic, gateway, listener, route, rule)
                    found.update(called.get(policy.key, ()) if policy else ())
        return frozenset(found)


_NONE = RulePolicies()
