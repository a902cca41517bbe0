"""`rateLimit` of a `TrafficPolicy`: how many requests are let through, of whom. The words are those
of Envoy Gateway's BackendTrafficPolicy."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.kinds import Fields, Flag, Integer, first_twice
from controlplane.resources.matches import HeaderName, Method
from controlplane.resources.patterns import check_pattern

UNIT_S = {"Second": 1, "Minute": 60, "Hour": 3600, "Day": 86400}

Unit = Literal["Second", "Minute", "Hour", "Day"]
_Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class LimitValue(Fields):
    """So many requests in so long."""

    requests: Annotated[Integer, Field(ge=1, le=2**31 - 1)] = Field(
        description="Let through in each unit."
    )
    unit: Unit = Field(description="`Second`, `Minute`, `Hour` or `Day`.")

    @property
    def unit_s(self) -> int:
        """The unit in seconds."""
        return UNIT_S[self.unit]


class GlobalLimitValue(LimitValue):
    """So many requests in so long."""

    window: Literal["Fixed", "Sliding"] = Field(
        default="Fixed",
        description="`Fixed`: counted anew with each unit of the clock (UTC), so that twice the "
        "limit may pass around its turn. `Sliding`: what is left of the last unit counts too.",
    )


class HeaderSelector(Fields):
    """A header that the request must have."""

    name: HeaderName = Field(description="Name of the header; case does not matter.")
    type: Literal["Exact", "RegularExpression", "Distinct"] = Field(
        default="Exact",
        description="`Distinct`: any value, each with a count of its own. `RegularExpression` must "
        "match the whole value (RE2).",
    )
    value: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = Field(
        default=None, description="What to compare with; not with `Distinct`."
    )
    invert: Flag = Field(
        default=False,
        description="Requests that do not have it, or another value; not with `Distinct`.",
    )

    @model_validator(mode="after")
    def _fits(self) -> HeaderSelector:
        if self.type == "Distinct":
            if self.value is not None or self.invert:
                raise ValueError("Distinct means every value; take away value and invert")
        elif self.value is None:
            raise ValueError(f"{self.type} wants a value to compare with")
        if self.type == "RegularExpression" and self.value is not None:
            check_pattern(self.value)
        return self


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"want a network such as 10.0.0.0/8 or 2001:db8::/32: {error}") from None
    return text


class SourceSelector(Fields):
    """Where the client is."""

    value: Annotated[str, AfterValidator(_network)] = Field(
        description="A network, as 10.0.0.0/8. The client's address is that of the connection, or "
        "what trusted proxies say of it."
    )
    type: Literal["Exact", "Distinct"] = Field(
        default="Exact",
        description="`Exact`: one count for the whole network. `Distinct`: one for each IPv4 "
        "address, and for each IPv6 network of 64 bits, which is what one client has.",
    )
    invert: Flag = Field(default=False, description="Clients that are not in this network.")


class MethodSelector(Fields):
    """A method."""

    value: Method = Field(description="As GET.")


def _named_once(headers: tuple[HeaderSelector, ...]) -> tuple[HeaderSelector, ...]:
    twice = first_twice([one.name.lower() for one in headers])
    if twice is not None:
        raise ValueError(f"{twice!r} is selected twice; keep one of them")
    return headers


class ClientSelector(Fields):
    """All of its parts must hold."""

    headers: Annotated[tuple[HeaderSelector, ...], AfterValidator(_named_once)] = Field(
        default=(), max_length=16, description="Each must hold."
    )
    source_cidr: SourceSelector | None = Field(
        default=None, alias="sourceCIDR", description="Where the client is."
    )
    methods: tuple[MethodSelector, ...] = Field(
        default=(), max_length=8, description="One must hold; none given: every method."
    )

    @model_validator(mode="after")
    def _says_something(self) -> ClientSelector:
        if not self.headers and self.source_cidr is None and not self.methods:
            raise ValueError("an empty selector; give headers, sourceCIDR or methods")
        return self

    @property
    def distinct(self) -> bool:
        """Whether there is a count for each client."""
        source = self.source_cidr
        return any(one.type == "Distinct" for one in self.headers) or (
            source is not None and source.type == "Distinct"
        )


Selectors = Annotated[
    tuple[ClientSelector, ...],
    Field(max_length=8, description="Which requests: all of them must hold; none given: all."),
]


def _together(selectors: tuple[ClientSelector, ...]) -> tuple[ClientSelector, ...]:
    _named_once(tuple(header for one in selectors for header in one.headers))
    if sum(one.source_cidr is not None for one in selectors) > 1:
        raise ValueError("sourceCIDR is given twice; keep one of them")
    if sum(bool(one.methods) for one in selectors) > 1:
        raise ValueError("methods is given twice; put them into one list")
    return selectors


class LocalRule(Fields):
    """A limit in each Envoy."""

    client_selectors: Annotated[Selectors, AfterValidator(_together)] = ()
    limit: LimitValue
    shadow_mode: Flag = Field(default=False, description="Count, and let through.")

    @model_validator(mode="after")
    def _acts(self) -> LocalRule:
        if self.shadow_mode and not self.client_selectors:
            raise ValueError("shadowMode of a local rule wants clientSelectors")
        return self


class LocalRateLimit(Fields):
    """Limits that each Envoy keeps by itself."""

    rules: Annotated[tuple[LocalRule, ...], Field(min_length=1, max_length=16)] = Field(
        description="Each on its own; a request is let through where all of them let it."
    )

    @model_validator(mode="after")
    def _one_for_all(self) -> LocalRateLimit:
        if sum(not rule.client_selectors for rule in self.rules) > 1:
            raise ValueError("two rules without clientSelectors; keep one limit for all requests")
        return self


class CostMetadata(Fields):
    """A number that another filter left with the request."""

    namespace: _Key = Field(description="Of the dynamic metadata, such as `envoy.lb`.")
    key: _Key = Field(description="In this namespace.")


class Cost(Fields):
    """How much of a limit is taken."""

    from_: Literal["Number", "Metadata"] = Field(
        alias="from", description="A number of your own, or one from dynamic metadata."
    )
    number: Annotated[Integer, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="0: looked at, and nothing taken."
    )
    metadata: CostMetadata | None = Field(default=None, description="Where the number is.")

    @model_validator(mode="after")
    def _fits(self) -> Cost:
        given = (self.number is not None, self.metadata is not None)
        if given != (self.from_ == "Number", self.from_ == "Metadata"):
            raise ValueError(f"from: {self.from_} wants {self.from_.lower()}, and it alone")
        return self


class Costs(Fields):
    """How much of a limit a request takes."""

    request: Cost | None = Field(
        default=None, description="When it comes; not given: 1, with `response` too."
    )
    response: Cost | None = Field(
        default=None,
        description="When it is over: taken from what later requests have; nothing is refused by "
        "it.",
    )


class GlobalRule(Fields):
    """A limit of all Envoys together."""

    client_selectors: Annotated[Selectors, AfterValidator(_together)] = ()
    limit: GlobalLimitValue
    cost: Costs | None = Field(default=None, description="Not given: 1 for each request.")
    shared: Flag = Field(
        default=False,
        description="One count for all that the policy is for; else each rule of each route has "
        "its own.",
    )
    shadow_mode: Flag = Field(default=False, description="Count, and let through.")
    fail_closed: Flag = Field(
        default=False,
        description="Answer 503 (429 where the counts alone are away) while nobody can count; "
        "else let through.",
    )


class GlobalRateLimit(Fields):
    """Limits that the rate limit service of Weir keeps for all Envoys."""

    rules: Annotated[tuple[GlobalRule, ...], Field(min_length=1, max_length=32)] = Field(
        description="Each on its own; a request is let through where all of them let it."
    )


class RateLimit(Fields):
    """How many requests are let through; what is more is answered 429."""

    type: Literal["Local", "Global"] | None = Field(
        default=None, description="Not needed; where it is given that section must be there."
    )
    local: LocalRateLimit | None = None
    global_: GlobalRateLimit | None = Field(default=None, alias="global")

    @model_validator(mode="after")
    def _whole(self) -> RateLimit:
        if self.local is None and self.global_ is None:
            raise ValueError("give local, global, or both")
        if (self.type == "Local" and self.local is None) or (
            self.type == "Global" and self.global_ is None
        ):
            raise ValueError(f"type {self.type} wants the section {self.type.lower()}")
        return self


RULE, ROUTE = "weir.rule", "weir.route"
"""Keys of the first entries of a descriptor: which rule, and where it counts on its own."""
AFTER = "weir.after"
"""Key of the last entry of a descriptor whose request is over: nothing can be refused any more."""
OPEN, CLOSED = "weir", "weir-closed"
"""Domains: what is done with requests of rules that cannot be counted."""


def rule_key(policy: str, at: int) -> str:
    """What the rule at this place of the global rules of a policy (`namespace/name`) is called."""
    return f"{policy}/{at}"
