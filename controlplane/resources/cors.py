"""The filter `CORS` of an `HTTPRoute`: which pages of other origins may call, and with what."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.kinds import Fields, Flag, Integer, first_twice
from controlplane.resources.matches import HeaderName
from controlplane.resources.patterns import check_pattern

_LABEL = r"[A-Za-z0-9-]+"
_ANY_HOST = r"[\w.-]+"
_ORIGIN = re.compile(
    rf"https?://(?:(?:\*\.)?(?:{_LABEL}\.)*{_LABEL}|\*)(?::(?P<port>[0-9]{{1,5}}))?"
)

_ANYBODY = re.compile(r"(?:https?://)?\*(?::[0-9]+)?")


def _origin(text: str) -> str:
    if text == "*":
        return text
    found = _ORIGIN.fullmatch(text)
    if found is None or not 1 <= int(found["port"] or 80) <= 65535:
        raise ValueError(
            "want '*' or an origin such as https://example.com, https://*.example.com or "
            "http://example.com:8080"
        )
    if "*" in text:
        check_pattern(origin_pattern(text))
    return text


def origin_pattern(text: str) -> str:
    """The pattern of an origin with a `*` in it; `*` stands for one label or more of a host.

    >>> origin_pattern("https://*.example.com")
    'https://[\\\\w.-]+\\\\.example\\\\.com'
    """
    return ".+" if text == "*" else re.escape(text).replace(r"\*", _ANY_HOST).replace(r"\-", "-")


def _alone(entries: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in entries and len(entries) > 1:
        raise ValueError("'*' stands for all; write it alone")
    twice = first_twice(entries)
    if twice is not None:
        raise ValueError(f"{twice!r} is written twice; keep one of them")
    return entries


Origin = Annotated[str, StringConstraints(max_length=253), AfterValidator(_origin)]
CorsMethod = Literal[
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"
]


class Cors(Fields):
    """Calls from pages of other origins; Envoy answers the questions beforehand (preflights)."""

    allow_origins: Annotated[tuple[Origin, ...], AfterValidator(_alone)] = Field(
        default=(),
        max_length=64,
        description="`https://example.com`, `https://*.example.com`, `*` for all; none: nobody.",
    )
    allow_credentials: Flag = Field(
        default=False, description="Whether cookies and authorisation may come along."
    )
    allow_methods: Annotated[tuple[CorsMethod, ...], AfterValidator(_alone)] = Field(
        default=(), max_length=9, description="Methods, or `*`; GET, HEAD and POST always may."
    )
    allow_headers: Annotated[tuple[HeaderName, ...], AfterValidator(_alone)] = Field(
        default=(), max_length=64, description="Headers of the request, or `*`."
    )
    expose_headers: Annotated[tuple[HeaderName, ...], AfterValidator(_alone)] = Field(
        default=(), max_length=64, description="Headers of the response that the page may read."
    )
    max_age: Annotated[Integer, Field(ge=1, le=2**31 - 1)] = Field(
        default=5, description="For how many seconds a browser remembers the answer."
    )

    @property
    def lets_everybody_act(self) -> bool:
        """Whether every page on the Internet may send requests as the user who looks at it."""
        return self.allow_credentials and any(map(_ANYBODY.fullmatch, self.allow_origins))

    @model_validator(mode="after")
    def _named_with_credentials(self) -> Cors:
        """With credentials a browser takes `*` for a header called so."""
        if self.allow_credentials and "*" in self.expose_headers:
            raise ValueError(
                "exposeHeaders '*' does not work with allowCredentials; name the headers"
            )
        return self
