"""The policies in force, looked up once for each `Declared`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.resources.attachment import (
    Standing,
    Winners,
    of_backends,
    of_listener,
    of_rule,
    shut,
    winners,
)
from controlplane.resources.authorization import ClientAddresses
from controlplane.resources.backend_tls import BackendTlsPolicy
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.client_ports import at_listener
from controlplane.resources.declared import Declared
from controlplane.resources.delivery import SessionPersistence
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.kinds import kind_of
from controlplane.resources.matches import Match
from controlplane.resources.policy_references import service_backends, services_of
from controlplane.resources.references import policy_of
from controlplane.resources.route import RequestRoute, Route, Rule
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.target import Policy, Target
from controlplane.resources.traffic_policy import TrafficPolicy
from controlplane.translate import classes, retries, traffic
from controlplane.translate.edge_functions import Extensions
from controlplane.translate.security import Secured, Securing


class RulePolicies(NamedTuple):
    """What is said of the requests of a rule."""

    traffic: TrafficPolicy | None = None
    security: Secured | None = None
    extensions: Extensions = Extensions()
    shut: bool = False
    """A policy that was never valid is for them."""
    by_certificate: bool = False
    """Clients may say who they are by certificates."""

    @property
    def refuses(self) -> bool:
        """Whether every request is refused, because it cannot be looked at as was said."""
        return self.shut or (self.security is not None and self.security.route is None)

    def proofs(self, match: Match) -> list[bytes]:
        """Parts of a RouteMatch, of which one must hold for this match."""
        if self.security is None:
            return [b""]
        return self.security.proofs(sorted({one.name.lower() for one in match.headers}))

    @property
    def secured_by(self) -> str:
        """The SecurityPolicy, by `namespace/name`; empty where there is none."""
        return self.security.policy if self.security is not None else ""

    def of_route(self, route: str) -> bytes:
        """The part of a Route; what the route itself says comes after it and goes before. `route`
        names the rule that it is for."""
        secured = self.security.route if self.security is not None else None
        by_policy = self.security is not None and self.security.identifies
        identified = by_policy or self.by_certificate
        said = traffic.of_route(self.traffic, self.extensions, route, identified=identified)
        return (secured or b"") + said + classes.decide(self.traffic)

    def of_action(self, rule: Rule, *, fails_over: bool) -> bytes:
        """The part of a RouteAction, with what the rule says itself."""
        said = self.traffic.spec if self.traffic is not None else None
        return retries.limits(rule, said, fails_over=fails_over)

    def session_of(self, rule: Rule) -> SessionPersistence | None:
        """How sessions are kept: as the rule says, or the policy."""
        if rule.session_persistence is not None or self.traffic is None:
            return rule.session_persistence
        return self.traffic.spec.session_persistence if rule.one_backend else None

    @property
    def strict(self) -> bool:
        """Whether a session without its endpoint is refused."""
        session = self.traffic.spec.session_persistence if self.traffic is not None else None
        return session is not None and session.strict


@dataclass(frozen=True, slots=True, eq=False)
class Policies:
    """Of every kind, by target."""

    client: Winners[ClientPolicy]
    traffic: Winners[TrafficPolicy]
    security: Winners[SecurityPolicy]
    backend_tls: Winners[BackendTlsPolicy]
    secured: Mapping[str, Secured]
    """The SecurityPolicies that are in force, by `namespace/name`."""
    by_place: Set[str]
    """The Backends whose endpoints have priorities, by place."""
    extensions: Mapping[str, Extensions]
    """Of the TrafficPolicies, by `namespace/name`."""
    shut: Mapping[str, Mapping[Target, Standing]]
    """By kind, where some policies of it were never valid."""

    @classmethod
    def of(cls, declared: Declared, known: Collection[str], securing: Securing) -> Policies:
        """Those that are declared. `known` are the Backends whose endpoints are known."""
        of_client = winners(declared, ClientPolicy)
        of_traffic = winners(declared, TrafficPolicy)
        of_security = winners(declared, SecurityPolicy)
        of_backend_tls = winners(declared, BackendTlsPolicy)
        never_valid = {
            "ClientPolicy": shut(declared, ClientPolicy, of_client),
            "TrafficPolicy": shut(declared, TrafficPolicy, of_traffic),
            "SecurityPolicy": shut(declared, SecurityPolicy, of_security),
            "BackendTLSPolicy": shut(declared, BackendTlsPolicy, of_backend_tls),
        }
        return cls(
            of_client,
            of_traffic,
            of_security,
            of_backend_tls,
            securing.all(declared, of_security.values(), known),
            {key for key, policy in policy_of(declared).items() if policy.spec.locality},
            {key: Extensions.of(declared, one) for key, one in declared.all(TrafficPolicy).items()},
            {kind: one for kind, one in never_valid.items() if one},
        )

    def refuses(self, gateway: Gateway, listener: Listener) -> bool:
        """Whether every connection to a listener is refused, because nobody knows whose may be let
        in."""
        of = self.shut.get("ClientPolicy", {})
        return of_listener(of, gateway, listener) is Standing.SHUT

    def client_policy(self, gateway: Gateway, listener: Listener) -> ClientPolicy | None:
        """The policy in force for the clients of a listener."""
        return at_listener(self.client, gateway, listener)

    def addresses_of(
        self, gateway: Gateway, listeners: Sequence[Listener]
    ) -> tuple[ClientAddresses, ...]:
        """The lists of client addresses of these listeners, each once."""
        said = (of_listener(self.client, gateway, listener) for listener in listeners)
        lists = (one.spec.client_addresses for one in said if one is not None)
        return tuple(dict.fromkeys(one for one in lists if one is not None))

    def of_rule(
        self, gateway: Gateway, listener: Listener, route: RequestRoute, rule: Rule
    ) -> RulePolicies:
        """What is said of the requests of a rule that come in by a listener."""
        if not (self.traffic or self.security or self.shut):
            return _NONE
        place = (gateway, listener, route, rule)
        of_traffic, of_security = of_rule(self.traffic, *place), of_rule(self.security, *place)
        of_client = self.client_policy(gateway, listener)
        return RulePolicies(
            of_traffic,
            self.secured[of_security.key] if of_security is not None else None,
            self.extensions[of_traffic.key] if of_traffic is not None else Extensions(),
            any(of_rule(of, *place) is Standing.SHUT for of in self.shut.values()),
            of_client is not None and of_client.spec.tls.client_validation is not None,
        )

    def secured_in(
        self, gateway: Gateway, pairs: Sequence[tuple[Listener, RequestRoute]]
    ) -> list[Secured]:
        """The SecurityPolicies for a Gateway and its routes, in the order of their names."""
        if not self.security:
            return []
        here = {(kind_of(type(route)), route.key) for _, route in pairs}
        here.add((kind_of(Gateway), gateway.key))
        found = {one.key for target, one in self.security.items() if target[:2] in here}
        return [self.secured[key] for key in sorted(found)]

    def of_backends(
        self, declared: Declared, gateway: Gateway, pairs: Sequence[tuple[Listener, Route]]
    ) -> Mapping[str, TrafficPolicy]:
        """What is said of the connections of a Gateway to its Backends."""
        routes = [route for _, route in pairs]
        return of_backends(declared, self.traffic, routes, {gateway.key: pairs})

    def services(
        self, declared: Declared, gateway: Gateway, pairs: Sequence[tuple[Listener, RequestRoute]]
    ) -> frozenset[str]:
        """The Backends that the Envoys of a Gateway call for its policies, over gRPC."""
        called = {
            policy.key: tuple(service_backends(declared, policy))
            for policy in {id(one): one for one in self.traffic.values()}.values()
            if any(services_of(policy))
        }
        client: list[Policy | None] = [
            self.client_policy(gateway, listener) for listener in gateway.spec.listeners
        ]
        found = {key for one in client if one for key in service_backends(declared, one)}
        if called:
            for listener, route in pairs:
                for rule in route.spec.rules:
                    policy = of_rule(self.traffic, gateway, listener, route, rule)
                    found.update(called.get(policy.key, ()) if policy else ())
        return frozenset(found)


_NONE = RulePolicies()
