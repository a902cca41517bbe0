"""`GRPCRoute`: which gRPC calls go to which Backends, in which parts.

A call is a POST for the path `/service/method`, so a GRPCRoute becomes a route of requests:
translation, policies and references know of that alone.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.delivery import SessionPersistence, Timeouts
from controlplane.resources.filters import (
    ExtensionRef,
    Filter,
    HeaderModifier,
    RequestMirror,
    require_named,
    together,
)
from controlplane.resources.kinds import Document, Fields, GatewayApiVersion, Hostname, Name
from controlplane.resources.matches import (
    HeaderMatch,
    Match,
    PathMatch,
    first_of_each,
    named_once,
)
from controlplane.resources.patterns import check_pattern
from controlplane.resources.route import (
    BackendRef,
    RequestRoute,
    RequestSpec,
    RouteSpec,
    Rule,
    WeightedRef,
    check_rules,
    check_session,
)

_SERVICE = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_ANY = "[^/]+"
_NO_LIMIT = Timeouts.model_validate({"request": "0s"})
"""A stream lasts as long as the two sides want; a client's deadline is the server's to keep."""

Called = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class GrpcMethodMatch(Fields):
    """What is called: a service, a method, or both."""

    type: Literal["Exact", "RegularExpression"] = Field(
        default="Exact", description="`RegularExpression` must match the whole name (RE2)."
    )
    service: Called | None = Field(
        default=None, description="With its package, as `shop.v1.Carts`; not given: every one."
    )
    method: Called | None = Field(default=None, description="As `Add`; not given: every one.")

    @model_validator(mode="after")
    def _fits(self) -> GrpcMethodMatch:
        if self.service is None and self.method is None:
            raise ValueError("want a service, a method, or both; leave method out for every call")
        for text, plain, such in (
            (self.service, _SERVICE, "a service such as shop.v1.Carts"),
            (self.method, _METHOD, "a method such as Add"),
        ):
            if text is not None and self.type == "RegularExpression":
                check_pattern(text)
            elif text is not None and not plain.fullmatch(text):
                raise ValueError(f"want the name of {such}, got {text!r}")
        return self

    @property
    def path(self) -> PathMatch:
        """The paths that stand for it."""
        if self.type == "Exact" and self.service:
            method = f"/{self.method}" if self.method else ""
            kind = "Exact" if self.method else "PathPrefix"
            return PathMatch.model_construct(type=kind, value=f"/{self.service}{method}")
        service = f"(?:{self.service})" if self.service else _ANY
        method = f"(?:{self.method})" if self.method else _ANY
        return PathMatch.model_construct(type="RegularExpression", value=f"/{service}/{method}")


class _CallMatch(Match):
    """A match of calls: the more is said of the service the earlier, then of the method."""

    said: tuple[int, int]
    """Characters of the service and of the method."""

    @property
    def precedence(self) -> tuple[int, int, int, int, int]:
        """Sorts what goes before to the front."""
        service, method = self.said
        return -service, -method, -len(list(first_of_each(self.headers))), 0, 0


class GrpcMatch(Fields):
    """All of its parts must hold."""

    method: GrpcMethodMatch | None = Field(default=None, description="Not given: every call.")
    headers: Annotated[tuple[HeaderMatch, ...], AfterValidator(named_once)] = Field(
        default=(), max_length=16, description="Metadata that a call must have."
    )

    @property
    def requests(self) -> Match:
        """The same of requests."""
        one = self.method
        path = one.path if one else PathMatch()
        said = (len(one.service or ""), len(one.method or "")) if one else (0, 0)
        return _CallMatch.model_construct(path=path, headers=self.headers, said=said)


class GrpcFilter(Fields):
    """One thing that is done; the field that `type` names says how."""

    type: Literal[
        "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"
    ] = Field(description="Which of the fields below is given.")
    request_header_modifier: HeaderModifier | None = Field(
        default=None, description="Metadata of the call."
    )
    response_header_modifier: HeaderModifier | None = Field(
        default=None, description="Initial metadata of the answer."
    )
    request_mirror: RequestMirror | None = None
    extension_ref: ExtensionRef | None = None

    @model_validator(mode="after")
    def _fits(self) -> GrpcFilter:
        fields = {
            "RequestHeaderModifier": ("requestHeaderModifier", self.request_header_modifier),
            "ResponseHeaderModifier": ("responseHeaderModifier", self.response_header_modifier),
            "RequestMirror": ("requestMirror", self.request_mirror),
            "ExtensionRef": ("extensionRef", self.extension_ref),
        }
        require_named(self.type, fields)
        return self

    @property
    def requests(self) -> Filter:
        """The same for requests."""
        return Filter.model_construct(**dict(self))


def _together(filters: tuple[GrpcFilter, ...]) -> tuple[GrpcFilter, ...]:
    together(tuple(one.requests for one in filters))
    return filters


GrpcFilters = Annotated[tuple[GrpcFilter, ...], AfterValidator(_together)]


class GrpcBackendRef(WeightedRef):
    """Where a part of the calls goes."""

    filters: GrpcFilters = Field(
        default=(), max_length=16, description="For this part alone, after those of the rule."
    )

    @property
    def requests(self) -> BackendRef:
        """The same for requests."""
        filters = tuple(one.requests for one in self.filters)
        return BackendRef.model_construct(**{**dict(self), "filters": filters})


def _or_every(matches: tuple[GrpcMatch, ...]) -> tuple[GrpcMatch, ...]:
    return matches or (GrpcMatch(),)


class _CallRule(Rule):
    """A rule of calls: Envoy makes `UNAVAILABLE` of a 503."""

    nowhere: ClassVar[int] = 503


class GrpcRule(Fields):
    """Calls that match any of `matches` go to `backendRefs`."""

    name: Name | None = Field(
        default=None, description="Unique in the route; Envoy's name of the route ends with it."
    )
    matches: Annotated[tuple[GrpcMatch, ...], AfterValidator(_or_every)] = Field(
        default=(GrpcMatch(),), max_length=64, description="One must hold; none given: every call."
    )
    filters: GrpcFilters = Field(
        default=(), max_length=16, description="What is done to calls and answers."
    )
    backend_refs: tuple[GrpcBackendRef, ...] = Field(
        default=(), max_length=16, description="None: answered `UNAVAILABLE`."
    )
    session_persistence: SessionPersistence | None = None

    @model_validator(mode="after")
    def _fits(self) -> GrpcRule:
        check_session(self.session_persistence, self.backend_refs)
        return self

    @property
    def requests(self) -> Rule:
        """The same for requests."""
        return _CallRule.model_construct(
            name=self.name,
            matches=tuple(one.requests for one in self.matches),
            filters=tuple(one.requests for one in self.filters),
            backend_refs=tuple(one.requests for one in self.backend_refs),
            timeouts=_NO_LIMIT,
            session_persistence=self.session_persistence,
        )


def _consistent(rules: tuple[GrpcRule, ...]) -> tuple[GrpcRule, ...]:
    check_rules(sum(len(rule.matches) for rule in rules), [rule.name for rule in rules])
    return rules


class GrpcRouteSpec(RouteSpec):
    """Where it attaches and what it matches."""

    hostnames: tuple[Hostname, ...] = Field(
        default=(), max_length=16, description="None: those of the listener."
    )
    rules: Annotated[tuple[GrpcRule, ...], AfterValidator(_consistent)] = Field(
        default=(GrpcRule(),), min_length=1, max_length=16
    )


class CallRoute(RequestRoute):
    """A GRPCRoute as a route of requests."""

    api_version: GatewayApiVersion
    kind: Literal["GRPCRoute"]

    def name_of_rule(self, at: int) -> str:
        """What a rule is called; an HTTPRoute may have the same name."""
        return f"{self.kind} {super().name_of_rule(at)}"


class GrpcRoute(Document):
    """Calls to Backends."""

    about: ClassVar[str] = (
        "Attached like an HTTPRoute. Of several matches the one with the longer service counts, "
        "then the longer method, the more headers, the older route. On one listener the hosts of "
        "GRPCRoutes and HTTPRoutes are apart: of two that share one the older is in force, then "
        "the first by name, and the other is reported. A Backend that a GRPCRoute reaches is "
        "spoken to in HTTP/2. A part whose Backend is not there is answered `UNAVAILABLE`, a "
        "call that nothing matches `UNIMPLEMENTED`. Envoy sets no limit to the time of a call."
    )
    api_version: GatewayApiVersion
    kind: Literal["GRPCRoute"]
    spec: GrpcRouteSpec

    @cached_property
    def requests(self) -> CallRoute:
        """The same route, of requests."""
        spec = self.spec
        return CallRoute.model_construct(
            api_version=self.api_version,
            kind=self.kind,
            metadata=self.metadata,
            spec=RequestSpec.model_construct(
                parent_refs=spec.parent_refs,
                hostnames=spec.hostnames,
                rules=tuple(rule.requests for rule in spec.rules),
            ),
        )
