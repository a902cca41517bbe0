"""`HTTPRoute`: which requests go to which Backends, in which parts."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from controlplane.resources.delivery import Retry, SessionPersistence, Timeouts
from controlplane.resources.filters import BackendObjectRef, Filters
from controlplane.resources.kinds import (
    Document,
    Fields,
    GatewayApiVersion,
    Hostname,
    Integer,
    Name,
    Namespace,
    Port,
    first_twice,
)
from controlplane.resources.matches import Match

MAX_MATCHES = 128
"""In all rules of a route."""


def _or_every(matches: tuple[Match, ...]) -> tuple[Match, ...]:
    return matches or (Match(),)


class BackendRef(BackendObjectRef):
    """Where a part of the requests goes."""

    weight: Annotated[Integer, Field(ge=0, le=1_000_000)] = Field(
        default=1, description="Its part of the sum of the weights in the rule; 0: none."
    )
    filters: Filters = Field(
        default=(), max_length=16, description="For this part alone, after those of the rule."
    )


class Rule(Fields):
    """Requests that match any of `matches` go to `backendRefs`."""

    name: Name | None = Field(
        default=None, description="Unique in the route; Envoy's name of the route ends with it."
    )
    matches: Annotated[tuple[Match, ...], AfterValidator(_or_every)] = Field(
        default=(Match(),), max_length=64, description="One must hold; none given: every request."
    )
    filters: Filters = Field(
        default=(), max_length=16, description="What is done to requests and responses."
    )
    backend_refs: tuple[BackendRef, ...] = Field(
        default=(), max_length=16, description="None, and no redirect: answered 500."
    )
    timeouts: Timeouts = Timeouts()
    retry: Retry | None = Field(
        default=None, description="Not given: once, what never reached an endpoint."
    )
    session_persistence: SessionPersistence | None = None

    @model_validator(mode="after")
    def _fits(self) -> Rule:
        if self.backend_refs and any(one.type == "RequestRedirect" for one in self.filters):
            raise ValueError("RequestRedirect answers by itself; take away the backendRefs")
        filters = [*self.filters, *(one for ref in self.backend_refs for one in ref.filters)]
        if any(one.replaces_prefix for one in filters) and (
            len(self.matches) != 1 or self.matches[0].path.type != "PathPrefix"
        ):
            raise ValueError(
                "ReplacePrefixMatch needs exactly one match, of a path of type PathPrefix; "
                "make a rule of each match"
            )
        if self.session_persistence and not self.one_backend:
            raise ValueError(
                "sessionPersistence is supported with one Backend alone; its endpoints share the "
                "sessions"
            )
        return self

    @property
    def one_backend(self) -> bool:
        """Whether its requests are sent to one Backend at most."""
        return len([ref for ref in self.backend_refs if ref.weight]) <= 1


class ParentRef(Fields):
    """A Gateway that the route wants to attach to."""

    group: Literal["gateway.networking.k8s.io"] = "gateway.networking.k8s.io"
    kind: Literal["Gateway"] = "Gateway"
    name: Name = Field(description="Name of the Gateway.")
    namespace: Namespace | None = Field(default=None, description="Default: that of the route.")
    section_name: Name | None = Field(default=None, description="One listener, by name.")
    port: Port | None = Field(default=None, description="The listeners of this port alone.")


def _apart(refs: tuple[ParentRef, ...]) -> tuple[ParentRef, ...]:
    """Several references to one Gateway mean different listeners."""
    times = Counter((one.namespace, one.name) for one in refs)
    seen: set[ParentRef] = set()
    for one in refs:
        if times[one.namespace, one.name] > 1 and one.section_name is None and one.port is None:
            raise ValueError(
                f"Gateway {one.name} is named twice; say which listeners by sectionName or port"
            )
        if one in seen:
            raise ValueError(f"the same listeners of Gateway {one.name} are named twice")
        seen.add(one)
    return refs


def _consistent(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    matches = sum(len(rule.matches) for rule in rules)
    if matches > MAX_MATCHES:
        raise ValueError(
            f"at most {MAX_MATCHES} matches in all rules of a route, here {matches}; make two "
            "routes of it"
        )
    twice = first_twice([rule.name for rule in rules if rule.name])
    if twice is not None:
        raise ValueError(f"two rules are called {twice!r}; give one of them another name")
    return rules


class HttpRouteSpec(Fields):
    """Where it attaches and what it matches."""

    parent_refs: Annotated[tuple[ParentRef, ...], AfterValidator(_apart)] = Field(
        min_length=1, max_length=32, description="The Gateways."
    )
    hostnames: tuple[Hostname, ...] = Field(
        default=(), max_length=16, description="None: those of the listener."
    )
    rules: Annotated[tuple[Rule, ...], AfterValidator(_consistent)] = Field(
        default=(Rule(),), min_length=1, max_length=16
    )


class HttpRoute(Document):
    """Requests to Backends."""

    about: ClassVar[str] = (
        "Attached to every listener that its `parentRefs` mean and that lets it in. Of "
        "several matches the more exact one counts, by the rules of the Gateway API: host "
        "name, exact path, pattern, longest prefix, method, headers, query parameters, then "
        "the older route. A part of a rule whose Backend is not there is answered 500, and "
        "reported, and so is a rule that has neither `backendRefs` of a weight above 0 nor a "
        "redirect; a Backend whose endpoints are not known yet is 503, a request that nothing "
        "matches 404. A Backend stands in the namespace of its route. Requests that never "
        "reached an endpoint are tried once more at another; what else is tried again stands "
        "in `retry`. Which features of the Gateway API are there is in "
        "[gateway-api.md](../gateway-api.md)."
    )
    api_version: GatewayApiVersion
    kind: Literal["HTTPRoute"]
    spec: HttpRouteSpec
