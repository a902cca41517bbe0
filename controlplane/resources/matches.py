"""Which requests a rule of an `HTTPRoute` is for: path, headers, query parameters, method."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.kinds import Fields, first_twice
from controlplane.resources.patterns import check_pattern

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+")


def is_header_name(text: str) -> bool:
    """Whether HTTP takes this as the name of a header."""
    return _HEADER.fullmatch(text) is not None


def _header_name(text: str) -> str:
    if not is_header_name(text):
        raise ValueError("want the name of an HTTP header, such as x-version")
    return text


HeaderName = Annotated[str, AfterValidator(_header_name)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def check_path(text: str) -> str:
    """The path itself. Raises `ValueError` where no request can have it, or it is not plain."""
    if not text.startswith("/"):
        raise ValueError("a path starts with '/'")
    for never in ("//", "/./", "/../", "%2f", "%2F", "#", "?"):
        if never in text:
            raise ValueError(f"a path does not contain {never!r}")
    if text.endswith(("/.", "/..")):
        raise ValueError("a path does not end with '/.' or '/..'")
    if not _PATH.fullmatch(text):
        raise ValueError(
            "a path has letters, digits and -/._~!$&'()*+,;=:@ alone; write others as %20"
        )
    return text


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
        else:
            check_path(self.value)
        return self


class _ValueMatch(Fields):
    type: Literal["Exact", "RegularExpression"] = Field(
        default="Exact", description="`RegularExpression` must match the whole value (RE2)."
    )
    value: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        description="What to compare with."
    )

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

    value: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="What to compare with."
    )
    name: HeaderName = Field(description="Name of the parameter; case matters.")


_Named = TypeVar("_Named", HeaderMatch, QueryParamMatch)


def _named_once(entries: tuple[_Named, ...]) -> tuple[_Named, ...]:
    twice = first_twice([one.name for one in entries])
    if twice is not None:
        raise ValueError(f"{twice!r} is matched twice; keep one of them")
    return entries


class Match(Fields):
    """All of its parts must hold."""

    path: PathMatch = PathMatch()
    headers: Annotated[tuple[HeaderMatch, ...], AfterValidator(_named_once)] = Field(
        default=(), max_length=16
    )
    query_params: Annotated[tuple[QueryParamMatch, ...], AfterValidator(_named_once)] = Field(
        default=(), max_length=16
    )
    method: Method | None = Field(default=None, description="Not given: every method.")


def first_of_each(headers: Sequence[HeaderMatch]) -> Iterator[HeaderMatch]:
    """The Gateway API takes the first match of a header name, in whatever case, and no other."""
    seen: set[str] = set()
    for one in headers:
        if one.name.lower() not in seen:
            seen.add(one.name.lower())
            yield one
