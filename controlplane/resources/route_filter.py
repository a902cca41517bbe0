"""`HTTPRouteFilter`: what a filter `ExtensionRef` of an HTTPRoute may refer to.

`directResponse` has the words of Envoy Gateway's HTTPRouteFilter, `jwt` those of `authorization` in
a SecurityPolicy; `payload` and `cel` are our own.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, Strict, StringConstraints, model_validator

from controlplane.resources.authorization import JwtPrincipal
from controlplane.resources.cel import check_expression
from controlplane.resources.kinds import Document, Fields, Flag, Integer, Number, WeirApiVersion
from controlplane.resources.patterns import check_pattern

MAX_BODY = 4096
"""Bytes of an answer that Envoy takes in a route table."""


def _bounded(text: str) -> str:
    if len(text.encode()) > MAX_BODY:
        raise ValueError(f"at most {MAX_BODY} bytes")
    return text


class DirectBody(Fields):
    """What the answer holds."""

    type: Literal["Inline"] = Field(default="Inline", description="It stands here.")
    inline: Annotated[str, AfterValidator(_bounded)] = Field(
        description=f"The text, at most {MAX_BODY} bytes."
    )


class DirectResponse(Fields):
    """The answer comes from Envoy; nothing is sent on."""

    status_code: Annotated[Integer, Field(ge=200, le=599)] = Field(
        default=200, description="Its status."
    )
    content_type: (
        Annotated[str, StringConstraints(pattern=r"^[!-~]+/[!-~]+(; ?[!-~]+)*$")] | None
    ) = Field(default=None, description="Not given: `text/plain`.")
    body: DirectBody | None = Field(default=None, description="Not given: nothing.")


Key = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class PayloadField(Fields):
    """A field of a JSON object that a request must have."""

    path: tuple[Key, ...] = Field(
        min_length=1, max_length=8, description="Names from the outside in, as `[order, tier]`."
    )
    type: Literal["Exact", "RegularExpression"] = Field(
        default="Exact", description="`RegularExpression` must match the whole text (RE2)."
    )
    value: Annotated[str, Strict()] | Flag | Number = Field(
        description="Text, a number, true or false: a value of another type is another value."
    )

    @model_validator(mode="after")
    def _fits(self) -> PayloadField:
        if self.type == "RegularExpression":
            if not isinstance(self.value, str):
                raise ValueError("a RegularExpression is text")
            check_pattern(self.value)
        return self


class Payload(Fields):
    """Requests whose body is JSON and has these fields, all of them."""

    fields_: tuple[PayloadField, ...] = Field(
        alias="fields", min_length=1, max_length=8, description="All must hold."
    )
    limit: Annotated[Integer, Field(ge=1, le=16 * 1024 * 1024)] = Field(
        default=64 * 1024,
        description="Bytes of a body; what is larger is answered 413. Of several in a rule the "
        "largest counts.",
    )


class Expression(Fields):
    """Requests for which an expression is true."""

    expression: Annotated[str, AfterValidator(check_expression)] = Field(
        description="In CEL, about `request`, `source`, `destination` and `connection`, as "
        "`request.headers['x-tier'] in ['gold', 'silver']`. What fails, as a header that is not "
        "there, is not true."
    )


Condition = Payload | Expression | JwtPrincipal
"""Which requests a backendRef is for."""


class HttpRouteFilterSpec(Fields):
    """Exactly one of these."""

    direct_response: DirectResponse | None = Field(
        default=None, description="For a rule: it is answered so."
    )
    payload: Payload | None = Field(
        default=None,
        description="For a backendRef: it is for these requests alone. The backendRefs without "
        "share what is left.",
    )

    cel: Expression | None = Field(default=None, description="The same, by a rule of your own.")
    jwt: JwtPrincipal | None = Field(
        default=None,
        description="The same, by what stands in a token that the SecurityPolicy in force for the "
        "rule has found good; `provider` is one of `jwt` there.",
    )

    @model_validator(mode="after")
    def _one(self) -> HttpRouteFilterSpec:
        parts = (self.direct_response, self.payload, self.cel, self.jwt)
        if len([one for one in parts if one is not None]) != 1:
            raise ValueError("want directResponse, payload, cel or jwt, exactly one of them")
        return self

    @property
    def condition(self) -> Condition | None:
        """Which requests a backendRef with this filter is for."""
        return self.payload or self.cel or self.jwt


class HttpRouteFilter(Document):
    """More that a filter of an HTTPRoute may be."""

    about: ClassVar[str] = (
        "A filter of type `ExtensionRef` of an HTTPRoute or GRPCRoute in the same namespace refers "
        "to it: "
        "`extensionRef: {group: weir.dev, kind: HTTPRouteFilter, name: ...}`. "
        "A backendRef with `payload`, `cel` or `jwt` is for the requests alone that fit, in the "
        "order in which they are written; those without share the rest. For `payload` Envoy reads "
        "bodies of JSON (`application/json` or `...+json`) first. Policies are those of the rule, "
        "whichever is chosen."
    )
    api_version: WeirApiVersion
    kind: Literal["HTTPRouteFilter"]
    spec: HttpRouteFilterSpec
