"""`authorization` of a SecurityPolicy: rules in order, of which the first that fits decides."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from controlplane.resources.jwt import Claim, Word
from controlplane.resources.kinds import Fields, Name, first_twice
from controlplane.resources.matches import HeaderName, Method, check_path

Action = Literal["Allow", "Deny"]


def _cidr(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(
            "want addresses such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32, no bits set after the "
            "prefix"
        ) from error


Cidr = Annotated[str, AfterValidator(_cidr)]
"""A network; an address alone is a network of one."""


class ClaimMatch(Fields):
    """A claim that a token must have."""

    name: Claim = Field(description="`.` leads into a claim that is an object.")
    value_type: Literal["String", "StringArray"] = Field(
        default="String", description="What the claim is."
    )
    values: tuple[Word, ...] = Field(
        min_length=1, max_length=128, description="It is, or has, one of these."
    )


class JwtPrincipal(Fields):
    """Who has a token of a provider."""

    provider: Name = Field(description="A provider in `jwt` of this policy.")
    claims: tuple[ClaimMatch, ...] = Field(default=(), max_length=16, description="All must hold.")
    scopes: tuple[Word, ...] = Field(
        default=(), max_length=16, description="All must be in the claim `scope`."
    )

    @model_validator(mode="after")
    def _something(self) -> JwtPrincipal:
        if not (self.claims or self.scopes):
            raise ValueError("want claims or scopes")
        return self


class HeaderPrincipal(Fields):
    """A header that a request must have."""

    name: HeaderName = Field(description="Name of the header.")
    values: tuple[Word, ...] = Field(
        min_length=1, max_length=256, description="One of these is its whole value."
    )


class Principal(Fields):
    """Who sends a request; all that is given must hold."""

    client_cidrs: tuple[Cidr, ...] = Field(
        default=(), alias="clientCIDRs", max_length=1024, description="From one of these addresses."
    )
    jwt: JwtPrincipal | None = None
    headers: tuple[HeaderPrincipal, ...] = Field(
        default=(), max_length=16, description="With all of these."
    )

    @model_validator(mode="after")
    def _something(self) -> Principal:
        if not (self.client_cidrs or self.jwt or self.headers):
            raise ValueError("want clientCIDRs, jwt or headers")
        return self


class OperationPath(Fields):
    """A path, as the client wrote it; the query is not part of it."""

    type: Literal["Exact", "PathPrefix"] = Field(
        default="PathPrefix",
        description="`PathPrefix` compares whole segments: `/a` takes `/a` and `/a/b`, not `/ab`.",
    )
    value: Annotated[str, AfterValidator(check_path)] = Field(description="What to compare with.")


class Operation(Fields):
    """What is asked for; all that is given must hold."""

    methods: tuple[Method, ...] = Field(default=(), max_length=16, description="One of these.")
    paths: tuple[OperationPath, ...] = Field(
        default=(), max_length=32, description="One of these, without the query."
    )

    @model_validator(mode="after")
    def _something(self) -> Operation:
        if not (self.methods or self.paths):
            raise ValueError("want methods or paths")
        return self


class AuthorizationRule(Fields):
    """What becomes of the requests that it fits."""

    name: Name | None = Field(default=None, description="Unique in the policy.")
    action: Action = Field(description="Whether they may.")
    principal: Principal | None = Field(default=None, description="Not given: anybody.")
    operation: Operation | None = Field(default=None, description="Not given: anything.")

    @model_validator(mode="after")
    def _something(self) -> AuthorizationRule:
        if self.principal is None and self.operation is None:
            raise ValueError("want principal or operation; defaultAction is for all other requests")
        return self


def _distinct(rules: tuple[AuthorizationRule, ...]) -> tuple[AuthorizationRule, ...]:
    twice = first_twice([rule.name for rule in rules if rule.name])
    if twice is not None:
        raise ValueError(f"two rules are called {twice!r}")
    return rules


class Authorization(Fields):
    """Who may what. The first rule that fits decides."""

    default_action: Action = Field(default="Deny", description="For requests that no rule fits.")
    rules: Annotated[tuple[AuthorizationRule, ...], AfterValidator(_distinct)] = Field(
        default=(), max_length=128, description="In the order in which they are asked."
    )


class ClientAddresses(Fields):
    """Who may come at all, by address, whatever the routes say. What is denied is denied also
    where it is allowed."""

    allow: tuple[Cidr, ...] = Field(
        default=(), max_length=10_000, description="Nobody else; none given: everybody."
    )
    deny: tuple[Cidr, ...] = Field(default=(), max_length=10_000, description="These not.")
