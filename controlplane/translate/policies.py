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
from controlplane.resources.route import RequestRoute, Route, Rule
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.traffic_policy import TrafficPolicy
from controlplane.translate import traffic
from controlplane.translate.security import Secured, Securing


class RulePolicies(NamedTuple):
    """What is said of the requests of a rule."""

    traffic: TrafficPolicy | None = None
    security: Secured | None = None

    @property
    def refuses(self) -> bool:
        """Whether every request is refused, because it cannot be looked at as was said."""
        return self.security is not None and self.security.route is None

    def of_route(self) -> bytes:
        """The part of a Route; what the route itself says comes after it and goes before."""
        secured = self.security.route if self.security is not None else None
        return (secured or b"") + traffic.of_route(self.traffic)


@dataclass(frozen=True, slots=True, eq=False)
class Policies:
    """Of every kind, by target."""

    client: Winners[ClientPolicy]
    traffic: Winners[TrafficPolicy]
    security: Winners[SecurityPolicy]
    secured: Mapping[str, Secured]
    """The SecurityPolicies that are in force, by `namespace/name`."""

    @classmethod
    def of(cls, declared: Declared, known: Collection[str], securing: Securing) -> Policies:
        """Those that are declared. `known` are the Backends whose endpoints are known."""
        of_security = winners(declared, SecurityPolicy)
        return cls(
            winners(declared, ClientPolicy),
            winners(declared, TrafficPolicy),
            of_security,
            securing.all(declared, of_security.values(), known),
        )

    def of_listener(self, gateway: Gateway, listener: Listener) -> ClientPolicySpec | None:
        """How clients of a listener are spoken with; None: as is usual."""
        found = of_listener(self.client, gateway, listener)
        return found.spec if found is not None else None

    def addresses_of(
        self, gateway: Gateway, listeners: Sequence[Listener]
    ) -> tuple[ClientAddresses, ...]:
        """The lists of client addresses of these listeners, each once."""
        said = (self.of_listener(gateway, listener) for listener in listeners)
        lists = (one.client_addresses for one in said if one is not None)
        return tuple(dict.fromkeys(one for one in lists if one is not None))

    def of_rule(
        self, gateway: Gateway, listener: Listener, route: RequestRoute, rule: Rule
    ) -> RulePolicies:
        """What is said of the requests of a rule that come in by a listener."""
        if not self.traffic and not self.security:
            return _NONE
        place = (gateway, listener, route, rule)
        said = of_rule(self.security, *place)
        secured = self.secured[said.key] if said is not None else None
        return RulePolicies(of_rule(self.traffic, *place), secured)

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


_NONE = RulePolicies()
