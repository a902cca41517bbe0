"""`jwt` of a SecurityPolicy: whose tokens are believed, and where their keys are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.jwks import check_jwks
from controlplane.resources.kinds import Duration, Fields, Flag, Name, first_twice
from controlplane.resources.matches import HeaderName
from controlplane.resources.object_refs import ConfigMapRef
from controlplane.resources.uris import Uri

Word = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
InlineJwks = Annotated[str, StringConstraints(max_length=65536), AfterValidator(check_jwks)]


def _claim(text: str) -> str:
    if "" in text.split("."):
        raise ValueError("want the name of a claim, such as sub or org.team")
    return text


Claim = Annotated[Word, AfterValidator(_claim)]
"""`.` leads into a claim that is an object."""


class RemoteJwks(Fields):
    """Keys that Envoy fetches, and fetches again before they are too old."""

    uri: Uri = Field(
        description="Where they are. With `https` the server's certificate must be for its name, "
        "from a CA of the Envoy's machine."
    )
    cache_duration: Annotated[Duration, Field(ge=1)] = Field(
        default=300.0, description="For how long they are held good."
    )


class LocalJwks(Fields):
    """Keys that are written here, or in a ConfigMap."""

    type: Literal["Inline", "ValueRef"] = Field(
        default="Inline", description="Which of the two is given."
    )
    inline: InlineJwks | None = Field(
        default=None, description="The key set in JSON; public keys alone."
    )
    value_ref: ConfigMapRef | None = Field(
        default=None,
        description="A ConfigMap with the key set under `jwks`, or as its only value.",
    )

    @model_validator(mode="after")
    def _as_typed(self) -> LocalJwks:
        given = {"Inline": self.inline is not None, "ValueRef": self.value_ref is not None}
        if given != {"Inline": self.type == "Inline", "ValueRef": self.type == "ValueRef"}:
            raise ValueError("type Inline has inline alone, type ValueRef has valueRef alone")
        return self


class ClaimToHeader(Fields):
    """A claim that the Backend is told; what a client says under that name is taken away."""

    header: HeaderName = Field(description="Name of the header.")
    claim: Claim = Field(description="Name of the claim; `.` leads into a claim that is an object.")


class JwtHeader(Fields):
    """A header with a token in it."""

    name: HeaderName = Field(description="Name of the header.")
    value_prefix: Annotated[str, StringConstraints(max_length=256)] = Field(
        default="", description="What stands before the token, such as `Bearer `."
    )


class JwtExtractFrom(Fields):
    """Where tokens are looked for."""

    headers: tuple[JwtHeader, ...] = Field(default=(), max_length=16, description="Headers.")
    cookies: tuple[HeaderName, ...] = Field(default=(), max_length=16, description="Cookies.")
    params: tuple[Word, ...] = Field(default=(), max_length=16, description="Query parameters.")

    @model_validator(mode="after")
    def _somewhere(self) -> JwtExtractFrom:
        if not (self.headers or self.cookies or self.params):
            raise ValueError("want headers, cookies or params")
        return self


class JwtProvider(Fields):
    """Somebody whose tokens are believed."""

    name: Name = Field(description="Unique in the policy; `authorization` refers to it.")
    issuer: Annotated[str, StringConstraints(max_length=2048)] = Field(
        default="", description="What `iss` must be; not given: anything."
    )
    audiences: tuple[Word, ...] = Field(
        default=(), max_length=32, description="One of them must be in `aud`; none given: any."
    )
    remote_jwks: RemoteJwks | None = Field(
        default=None, alias="remoteJWKS", description="Either this"
    )
    local_jwks: LocalJwks | None = Field(default=None, alias="localJWKS", description="or this.")
    claim_to_headers: tuple[ClaimToHeader, ...] = Field(
        default=(), max_length=32, description="What the Backend is told of a token."
    )
    recompute_route: Flag = Field(
        default=False,
        description="Choose the route again when the headers of the claims are there.",
    )
    extract_from: JwtExtractFrom | None = Field(
        default=None,
        description="Not given: `Authorization: Bearer` and the query parameter `access_token`.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> JwtProvider:
        if (self.remote_jwks is None) == (self.local_jwks is None):
            raise ValueError("a provider has either remoteJWKS or localJWKS")
        return self


def _distinct(providers: tuple[JwtProvider, ...]) -> tuple[JwtProvider, ...]:
    twice = first_twice([one.name for one in providers])
    if twice is not None:
        raise ValueError(f"two providers are called {twice!r}; give one of them another name")
    return providers


class Jwt(Fields):
    """Requests need a token of one of these providers."""

    optional: Flag = Field(
        default=False,
        description="Requests without a token are let through; those with a bad one are not.",
    )
    providers: Annotated[tuple[JwtProvider, ...], AfterValidator(_distinct)] = Field(
        min_length=1, max_length=16, description="Whose tokens are believed."
    )
