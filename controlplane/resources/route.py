"""`HTTPRoute`: which requests go to which Backends, in which parts."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.kinds import (
    Document,
    Duration,
    Fields,
    GatewayApiVersion,
    Hostname,
    Integer,
    Name,
    Namespace,
    Port,
)
from controlplane.resources.patterns import check_pattern

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")


def _header_name(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError("want the name of an HTTP header, such as x-version")
    return text


HeaderName = Annotated[str, AfterValidator(_header_name)]
MatchValue = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


class PathMatch(Fields):
    """How the path is compared; the query is not part of it."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = Field(
        default="PathPrefix",
        description="`PathPrefix` compares whole segments: `/a` takes `/a` and `/a/b`, not `/ab`. "
        "`RegularExpression` must match the whole path (RE2).",
    )
    value: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = "/"

    @model_validator(mode="after")
    def _fits(self) -> PathMatch:
        if self.type == "RegularExpression":
            check_pattern(self.value)
            return self
        if not self.value.startswith("/"):
            raise ValueError("a path starts with '/'")
        for never in ("//", "/./", "/../", "%2f", "%2F", "#", "?"):
            if never in self.value:
                raise ValueError(f"a path does not contain {never!r}")
        if self.value.endswith(("/.", "/..")):
            raise ValueError("a path does not end with '/.' or '/..'")
        return self


class _ValueMatch(Fields):
    type: Literal["Exact", "RegularExpression"] = Field(
        default="Exact", description="`RegularExpression` must match the whole value (RE2)."
    )
    value: MatchValue = Field(description="What to compare with.")

    @model_validator(mode="after")
    def _fits(self) -> _ValueMatch:
        if self.type == "RegularExpression":
            check_pattern(self.value)
        return self


class HeaderMatch(_ValueMatch):
    """A header that a request must have."""

    name: HeaderName = Field(description="Name of the header; case does not matter.")


class QueryParamMatch(_ValueMatch):
    """A query parameter that a request must have."""

    name: HeaderName = Field(description="Name of the parameter; case matters.")


class Match(Fields):
    """All of its parts must hold."""

    path: PathMatch = PathMatch()
    headers: tuple[HeaderMatch, ...] = Field(default=(), max_length=16)
    query_params: tuple[QueryParamMatch, ...] = Field(default=(), max_length=16)
    method: Method | None = Field(default=None, description="Not given: every method.")


def _or_every(matches: tuple[Match, ...]) -> tuple[Match, ...]:
    return matches or (Match(),)


class BackendRef(Fields):
    """Where a part of the requests goes."""

    group: str | None = Field(default=None, description="`weir.dev`; nothing else is served.")
    kind: str | None = Field(default=None, description="`Backend`; nothing else is served.")
    name: Name = Field(description="Name of the Backend.")
    namespace: Namespace | None = Field(
        default=None, description="Must be that of the route, which is the default."
    )
    port: Port | None = Field(default=None, description="Not used: endpoints carry their port.")
    weight: Annotated[Integer, Field(ge=0, le=1_000_000)] = Field(
        default=1, description="Its part of the sum of the weights in the rule; 0: none."
    )


class Timeouts(Fields):
    """How long a request may take."""

    request: Duration = Field(
        default=15.0, description="From the whole request to the whole response; `0s`: no limit."
    )


class Rule(Fields):
    """Requests that match any of `matches` go to `backendRefs`."""

    name: Name | None = Field(default=None, description="For people.")
    matches: Annotated[tuple[Match, ...], AfterValidator(_or_every)] = Field(
        default=(Match(),), max_length=64, description="One must hold; none given: every request."
    )
    backend_refs: tuple[BackendRef, ...] = Field(
        default=(), max_length=16, description="None: answered 404."
    )
    timeouts: Timeouts = Timeouts()


class ParentRef(Fields):
    """A Gateway that the route wants to attach to."""

    group: Literal["gateway.networking.k8s.io"] = "gateway.networking.k8s.io"
    kind: Literal["Gateway"] = "Gateway"
    name: Name = Field(description="Name of the Gateway.")
    namespace: Namespace | None = Field(default=None, description="Default: that of the route.")
    section_name: Name | None = Field(default=None, description="One listener, by name.")
    port: Port | None = Field(default=None, description="The listeners of this port alone.")


class HttpRouteSpec(Fields):
    """Where it attaches and what it matches."""

    parent_refs: tuple[ParentRef, ...] = Field(
        min_length=1, max_length=32, description="The Gateways."
    )
    hostnames: tuple[Hostname, ...] = Field(
        default=(), max_length=16, description="None: those of the listener."
    )
    rules: tuple[Rule, ...] = Field(default=(Rule(),), min_length=1, max_length=64)


class HttpRoute(Document):
    """Requests to Backends."""

    api_version: GatewayApiVersion
    kind: Literal["HTTPRoute"]
    spec: HttpRouteSpec
