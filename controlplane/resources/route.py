"""Routes, and the first of them: `HTTPRoute`, which requests go to which Backends, in which parts.

A `Route` attaches to listeners. A `RequestRoute` is one for requests, in the form that translation
takes: an HTTPRoute is one, a GRPCRoute becomes one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from controlplane.resources.delivery import Retry, SessionPersistence, Timeouts
from controlplane.resources.filters import BackendObjectRef, Filter, Filters
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


class WeightedRef(BackendObjectRef):
    """Where a part goes."""

    weight: Annotated[Integer, Field(ge=0, le=1_000_000)] = Field(
        default=1, description="Its part of the sum of the weights in the rule; 0: none."
    )


class BackendRef(WeightedRef):
    """Where a part of the requests goes."""

    filters: Filters = Field(
        default=(), max_length=16, description="For this part alone, after those of the rule."
    )


class Rule(Fields):
    """Requests that match any of `matches` go to `backendRefs`."""

    nowhere: ClassVar[int] = 500
    """The status of the answer where a reference leads nowhere."""

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
        check_session(self.session_persistence, self.backend_refs)
        return self

    @property
    def one_backend(self) -> bool:
        """Whether its requests are sent to one Backend at most."""
        return one_backend(self.backend_refs)

    def references(self) -> Iterator[BackendObjectRef]:
        """Every reference to a Backend, those of mirrors among them."""
        yield from _mirrors(self.filters)
        for ref in self.backend_refs:
            yield ref
            yield from _mirrors(ref.filters)


def one_backend(refs: Sequence[WeightedRef]) -> bool:
    """Whether requests are sent to one Backend at most."""
    return len([ref for ref in refs if ref.weight]) <= 1


def check_session(session: SessionPersistence | None, refs: Sequence[WeightedRef]) -> None:
    """Raises `ValueError` where Envoy could not lead back: it chooses the Backend first."""
    if session is not None and not one_backend(refs):
        raise ValueError(
            "sessionPersistence is supported with one Backend alone; its endpoints share the "
            "sessions"
        )


def _mirrors(filters: Sequence[Filter]) -> Iterator[BackendObjectRef]:
    for one in filters:
        if one.request_mirror is not None:
            yield one.request_mirror.backend_ref


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
            raise ValueError(
                f"the same listeners of Gateway {one.name} are named twice; keep one of them"
            )
        seen.add(one)
    return refs


def check_rules(matches: int, names: Sequence[str | None]) -> None:
    """Raises `ValueError` for more matches than a route may have, or two rules of one name."""
    if matches > MAX_MATCHES:
        raise ValueError(
            f"at most {MAX_MATCHES} matches in all rules of a route, here {matches}; make two "
            "routes of it"
        )
    twice = first_twice([name for name in names if name])
    if twice is not None:
        raise ValueError(f"two rules are called {twice!r}; give one of them another name")


def _consistent(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    check_rules(sum(len(rule.matches) for rule in rules), [rule.name for rule in rules])
    return rules


class RouteSpec(Fields):
    """Where a route attaches."""

    parent_refs: Annotated[tuple[ParentRef, ...], AfterValidator(_apart)] = Field(
        min_length=1, max_length=32, description="The Gateways."
    )


class Route(Document):
    """What attaches to listeners and refers to Backends."""

    spec: RouteSpec

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host names that it is for; none: those of the listener."""
        return ()

    def parts(self) -> Iterator[tuple[str | None, tuple[BackendObjectRef, ...]]]:
        """Of each rule its name, if it has one, and every Backend that it refers to."""
        raise NotImplementedError


class RequestSpec(RouteSpec):
    """Where it attaches and what it matches."""

    hostnames: tuple[Hostname, ...] = Field(
        default=(), max_length=16, description="None: those of the listener."
    )
    rules: Annotated[tuple[Rule, ...], AfterValidator(_consistent)] = Field(
        default=(Rule(),), min_length=1, max_length=16
    )


class RequestRoute(Route):
    """A route of requests."""

    spec: RequestSpec

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host names that it is for; none: those of the listener."""
        return self.spec.hostnames

    def parts(self) -> Iterator[tuple[str | None, tuple[BackendObjectRef, ...]]]:
        """Of each rule its name, if it has one, and every Backend that it refers to."""
        for rule in self.spec.rules:
            yield rule.name, tuple(rule.references())

    def name_of_rule(self, at: int) -> str:
        """What a rule is called among those of all routes of requests."""
        return f"{self.key}/{at}"

    def name_of(self, rule_at: int, match_at: int) -> str:
        """What Envoy calls the route of a match."""
        name = self.spec.rules[rule_at].name
        return f"{self.name_of_rule(rule_at)}/{match_at}" + (f"/{name}" if name else "")


class HttpRoute(RequestRoute):
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
