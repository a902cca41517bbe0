"""Whether a match of an `HTTPRoute` holds for a request, and if not, why."""

from __future__ import annotations

import re
from collections.abc import Iterator

from controlplane.explain.request import Request
from controlplane.resources.matches import (
    HeaderMatch,
    Match,
    PathMatch,
    QueryParamMatch,
    first_of_each,
)


def misses(match: Match, request: Request, *, preflights: bool) -> tuple[str, ...]:
    """Why the match does not hold; empty where it does.

    `preflights`: the rule answers CORS, so a browser that asks for its method is let in.
    """
    return (
        *_path(match.path, request),
        *_method(match, request, preflights),
        *(miss for one in first_of_each(match.headers) for miss in _header(one, request)),
        *(miss for one in match.query_params for miss in _query(one, request)),
    )


def _path(wanted: PathMatch, request: Request) -> Iterator[str]:
    path, value = request.normal_path, wanted.value
    if wanted.type == "Exact":
        if path != value:
            yield f"path {path} is not {value}"
    elif wanted.type == "RegularExpression":
        if not _whole(value, path):
            yield f"path {path} as a whole does not fit {value}"
    else:
        plain = value.rstrip("/")
        if path != plain and not path.startswith(f"{plain}/"):
            yield f"path {path} is not below {value}"


def _method(match: Match, request: Request, preflights: bool) -> Iterator[str]:
    if match.method in (None, request.method):
        return
    asked = request.headers.get("access-control-request-method")
    if not (preflights and request.method == "OPTIONS" and asked == match.method):
        yield f"method {request.method} is not {match.method}"


def _header(wanted: HeaderMatch, request: Request) -> Iterator[str]:
    value = request.headers.get(wanted.name.lower())
    yield from _compared(f"header {wanted.name}", wanted, value)


def _query(wanted: QueryParamMatch, request: Request) -> Iterator[str]:
    yield from _compared(f"query parameter {wanted.name}", wanted, request.parameter(wanted.name))


def _compared(what: str, wanted: HeaderMatch | QueryParamMatch, value: str | None) -> Iterator[str]:
    if value is None:
        yield f"there is no {what}"
    elif wanted.type == "RegularExpression":
        if not _whole(wanted.value, value):
            yield f"{what} is {value!r}, which as a whole does not fit {wanted.value}"
    elif value != wanted.value:
        yield f"{what} is {value!r}, not {wanted.value!r}"


def _whole(pattern: str, value: str) -> bool:
    """As Envoy's engine: classes such as `\\d` are of ASCII."""
    return re.fullmatch(pattern, value, re.ASCII) is not None
