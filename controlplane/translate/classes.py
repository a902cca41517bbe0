"""Classes of requests: a route for each, and a cluster for each that has limits of its own.

The class is decided twice, see `second_choice`.
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy_data_plane.envoy.config.core.v3 import RoutingPriority
from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteMatch
from envoy_data_plane.envoy.type.matcher.v3 import AddressMatcher, FilterStateMatcher

from controlplane.model import OF_CLASS
from controlplane.resources.classes import TrafficClass
from controlplane.resources.matches import first_of_each
from controlplane.resources.traffic_policy import TrafficPolicy
from controlplane.translate import second_choice
from controlplane.translate.matches import header
from controlplane.translate.networks import cidr
from controlplane.translate.wire import wire


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of a rule that are treated alike: those of a class, or of none."""

    name: str
    """`namespace/name` of the policy, and the name of the class; empty for those of none."""
    one: TrafficClass

    @property
    def suffix(self) -> str:
        """Of the name of the route."""
        return f"#{self.one.name}" if self.name else ""

    @property
    def matcher(self) -> bytes:
        """The part of a RouteMatch that takes them."""
        return _matcher(self.one)

    @property
    def of_route(self) -> bytes:
        """The part of a Route: statistics of its own."""
        return wire(Route, stat_prefix=self.name) if self.name else b""

    @property
    def of_action(self) -> bytes:
        """The part of a RouteAction."""
        if self.one.priority == "High":
            return wire(RouteAction, priority=RoutingPriority.HIGH)
        return b""

    def cluster(self, backend: str) -> str:
        """Where those go that are for a Backend."""
        return f"{backend}{OF_CLASS}{self.name}" if self.apart else backend

    @property
    def apart(self) -> bool:
        """Whether there are clusters for them alone."""
        return self.one.circuit_breaker is not None


_NONE = Kind("", TrafficClass(name="none"))


def kinds(policy: TrafficPolicy | None) -> tuple[Kind, ...]:
    """Whom the requests of a rule belong to, in the order to ask."""
    if policy is None or not policy.spec.classes:
        return (_NONE,)
    classes = tuple(Kind(f"{policy.key}/{one.name}", one) for one in policy.spec.classes)
    return classes if classes[-1].one.matches_all else (*classes, _NONE)


def decide(policy: TrafficPolicy | None) -> bytes:
    """The part of a Route that has Envoy choose again behind authentication."""
    if policy is None or not policy.spec.classes:
        return b""
    return second_choice.of_route()


def _matcher(one: TrafficClass) -> bytes:
    out = wire(RouteMatch, headers=[header(each) for each in first_of_each(one.match.headers)])
    if one.match.client_cidrs:
        addresses = wire(AddressMatcher, ranges=list(map(cidr, one.match.client_cidrs)))
        from_there = wire(FilterStateMatcher, key=second_choice.CLIENT, address_match=addresses)
        out += wire(RouteMatch, filter_state=[from_there])
    return out
