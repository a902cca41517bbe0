"""The policies in force, looked up once for each `Declared`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.resources.attachment import (
    Winners,
    of_backends,
    of_listener,
    of_rule,
    winners,
)
from controlplane.resources.authorization import ClientAddresses
from controlplane.resources.client_policy import ClientPolicy, ClientPolicySpec
from controlplane.resources.declared import Declared
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.kinds import kind_of
from controlplane.resources.policy_references import service_backends, services_of
from controlplane.resources.route import HttpRoute, Rule
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.target import Policy
from controlplane.resources.traffic_policy import TrafficPolicy
from controlplane.translate import traffic
from controlplane.translate.extensions import Extensions
from controlplane.translate.security import Secured, Securing


class RulePolicies(NamedTuple):
    """What is said of the requests of a rule."""

    traffic: TrafficPolicy | None = None
    security: Secured | None = None
    extensions: Extensions = Extensions()

    @property
    def refuses(self) -> bool:
        """Whether every request is refused, because it cannot be looked at as was said."""
        return self.security is not None and self.security.route is None

    def of_route(self) -> bytes:
        """The part of a Route; what the route itself says comes after it and goes before."""
        secured = self.security.route if self.security is not None else None
        return (secured or b"") + traffic.of_route(self.traffic, self.extensions)


@dataclass(frozen=True, slots=True, eq=False)
class Policies:
    """Of every kind, by target."""

    client: Winners[ClientPolicy]
    traffic: Winners[TrafficPolicy]
    security: Winners[SecurityPolicy]
    secured: Mapping[str, Secured]
    """The SecurityPolicies that are in force, by `namespace/name`."""
    extensions: Mapping[str, Extensions]
    """Of the TrafficPolicies, by `namespace/name`."""

    @classmethod
    def of(cls, declared: Declared, known: Collection[str], securing: Securing) -> Policies:
        """Those that are declared. `known` are the Backends whose endpoints are known."""
        of_security = winners(declared, SecurityPolicy)
        return cls(
            winners(declared, ClientPolicy),
            winners(declared, TrafficPolicy),
            of_security,
            securing.all(declared, of_security.values(), known),
            {key: Extensions.of(declared, one) for key, one in declared.all(TrafficPolicy).items()},
        )

    def of_listener(self, gateway: Gateway, listener: Listener) -> ClientPolicySpec | None:
        """How clients of a listener are spoken with; None: as is usual."""
        found = self.client_policy(gateway, listener)
        return found.spec if found is not None else None

    def client_policy(self, gateway: Gateway, listener: Listener) -> ClientPolicy | None:
        """The policy that says so."""
        return of_listener(self.client, gateway, listener)

    def addresses_of(
        self, gateway: Gateway, listeners: Sequence[Listener]
    ) -> tuple[ClientAddresses, ...]:
        """The lists of client addresses of these listeners, each once."""
        said = (self.of_listener(gateway, listener) for listener in listeners)
        lists = (one.client_addresses for one in said if one is not None)
        return tuple(dict.fromkeys(one for one in lists if one is not None))

    def of_rule(
        self, gateway: Gateway, listener: Listener, route: HttpRoute, rule: Rule
    ) -> RulePolicies:
        """What is said of the requests of a rule that come in by a listener."""
        if not self.traffic and not self.security:
            return _NONE
        place = (gateway, listener, route, rule)
        of_traffic, of_security = of_rule(self.traffic, *place), of_rule(self.security, *place)
        return RulePolicies(
            of_traffic,
            self.secured[of_security.key] if of_security is not None else None,
            self.extensions[of_traffic.key] if of_traffic is not None else Extensions(),
        )

    def secured_in(
        self, gateway: Gateway, pairs: Sequence[tuple[Listener, HttpRoute]]
    ) -> list[Secured]:
        """The SecurityPolicies for a Gateway and its routes, in the order of their names."""
        if not self.security:
            return []
        here = {(kind_of(type(route)), route.key) for _, route in pairs}
        here.add((kind_of(Gateway), gateway.key))
        found = {one.key for target, one in self.security.items() if target[:2] in here}
        return [self.secured[key] for key in sorted(found)]

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
