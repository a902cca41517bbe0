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
from controlplane.resources.route import RequestRoute, Route, Rule
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.traffic_policy import TrafficPolicy
from controlplane.translate import security, traffic


class RulePolicies(NamedTuple):
    """What is said of the requests of a rule."""

    traffic: TrafficPolicy | None = None
    security: SecurityPolicy | None = None

    def of_route(self) -> bytes:
        """The part of a Route; what the route itself says comes after it and goes before."""
        return security.of_route(self.security) + traffic.of_route(self.traffic)


@dataclass(frozen=True, slots=True, eq=False)
class Policies:
    """Of every kind, by target."""

    client: Winners[ClientPolicy]
    traffic: Winners[TrafficPolicy]
    security: Winners[SecurityPolicy]

    @classmethod
    def of(cls, declared: Declared) -> Policies:
        """Those that are declared."""
        return cls(
            winners(declared, ClientPolicy),
            winners(declared, TrafficPolicy),
            winners(declared, SecurityPolicy),
        )

    def of_listener(self, gateway: Gateway, listener: Listener) -> ClientPolicySpec | None:
        """How clients of a listener are spoken with; None: as is usual."""
        found = of_listener(self.client, gateway, listener)
        return found.spec if found is not None else None

    def of_rule(
        self, gateway: Gateway, listener: Listener, route: RequestRoute, rule: Rule
    ) -> RulePolicies:
        """What is said of the requests of a rule that come in by a listener."""
        if not self.traffic and not self.security:
            return _NONE
        place = (gateway, listener, route, rule)
        return RulePolicies(of_rule(self.traffic, *place), of_rule(self.security, *place))

    def of_backends(
        self, declared: Declared, gateway: Gateway, pairs: Sequence[tuple[Listener, Route]]
    ) -> Mapping[str, TrafficPolicy]:
        """What is said of the connections of a Gateway to its Backends."""
        routes = [route for _, route in pairs]
        return of_backends(declared, self.traffic, routes, {gateway.key: pairs})


_NONE = RulePolicies()
