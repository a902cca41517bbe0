"""What a rule of an `HTTPRoute` does to requests and responses on their way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.cors import Cors
from controlplane.resources.kinds import Fields, Hostname, Integer, Name, Namespace, Port
from controlplane.resources.matches import HeaderName, check_path

_VALUE = re.compile(r"[!-~]+(?:[\t ]?[!-~]+)*")


def _header_value(text: str) -> str:
    if not _VALUE.fullmatch(text):
        raise ValueError("want printable ASCII, with single spaces between words")
    return text


def _precise(text: str) -> str:
    if text.startswith("*"):
        raise ValueError("want one host name, such as example.com, no '*'")
    return text


PreciseHostname = Annotated[Hostname, AfterValidator(_precise)]


class BackendObjectRef(Fields):
    """A Backend or a Service that is meant."""

    group: str | None = Field(
        default=None, description="`weir.dev` for a Backend, empty for a Service."
    )
    kind: str | None = Field(
        default=None, description="`Backend` or `Service`; not given: a Backend."
    )
    name: Name = Field(description="Its name.")
    namespace: Namespace | None = Field(
        default=None,
        description="Default: that of the route. In another one a ReferenceGrant must allow it.",
    )
    port: Port | None = Field(
        default=None,
        description="Of a Service, which needs one; endpoints of a Backend carry their port.",
    )


class HttpHeader(Fields):
    """A header and its value."""

    name: HeaderName = Field(description="Name of the header; case does not matter.")
    value: Annotated[
        str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_header_value)
    ] = Field(description="Printable ASCII; several values are separated by commas.")


class HeaderModifier(Fields):
    """Headers to set, add and remove; each name once."""

    set_: tuple[HttpHeader, ...] = Field(
        default=(), alias="set", max_length=16, description="In place of what is there."
    )
    add: tuple[HttpHeader, ...] = Field(
        default=(), max_length=16, description="Beside what is there."
    )
    remove: tuple[HeaderName, ...] = Field(
        default=(), max_length=16, description="Names of headers."
    )

    @model_validator(mode="after")
    def _once(self) -> HeaderModifier:
        names = [one.name for one in (*self.set_, *self.add)] + list(self.remove)
        for name, times in Counter(name.lower() for name in names).items():
            if times > 1:
                raise ValueError(f"header {name!r} is named twice; one action for each header")
            if name == "host":
                raise ValueError("the header host is not changed here; use URLRewrite.hostname")
        return self


def require_named(named: str, fields: Mapping[str, tuple[str, object]]) -> None:
    """The field that `type` names is given, and no other: by type, its field and value."""
    for kind, (field, value) in fields.items():
        if kind == named and value is None:
            raise ValueError(f"type {kind} needs {field}")
        if kind != named and value is not None:
            raise ValueError(f"{field} needs type {kind}; here it is {named}")


class PathModifier(Fields):
    """Another path: the whole of it, or the part that the match is about."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"] = Field(
        description="Which of the two fields below is given."
    )
    replace_full_path: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="The whole path; the query is kept."
    )
    replace_prefix_match: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None,
        description="In place of the value of the rule's only match, which must be a "
        "`PathPrefix`. A '/' at its end does not count; empty: nothing in its place.",
    )

    @model_validator(mode="after")
    def _fits(self) -> PathModifier:
        fields = {
            "ReplaceFullPath": ("replaceFullPath", self.replace_full_path),
            "ReplacePrefixMatch": ("replacePrefixMatch", self.replace_prefix_match),
        }
        require_named(self.type, fields)
        if self.replace_full_path is not None:
            check_path(self.replace_full_path)
        if self.replace_prefix_match:
            check_path(self.replace_prefix_match)
        return self


class RequestRedirect(Fields):
    """The answer is a redirect; nothing is sent on."""

    scheme: Literal["http", "https"] | None = Field(
        default=None, description="Not given: that of the request."
    )
    hostname: PreciseHostname | None = Field(
        default=None, description="Not given: that of the request."
    )
    path: PathModifier | None = Field(default=None, description="Not given: that of the request.")
    port: Port | None = Field(
        default=None,
        description="Not given: that of `scheme` where it is given, otherwise the listener's.",
    )
    status_code: Literal[301, 302, 303, 307, 308] = Field(
        default=302, description="Status of the answer."
    )


class UrlRewrite(Fields):
    """What the Backend gets to see as host and path."""

    hostname: PreciseHostname | None = Field(
        default=None, description="In place of the header host."
    )
    path: PathModifier | None = Field(default=None, description="In place of the path.")


class Fraction(Fields):
    """So many of so many requests."""

    numerator: Annotated[Integer, Field(ge=0, le=2**31 - 1)] = Field(description="So many")
    denominator: Annotated[Integer, Field(ge=1, le=2**31 - 1)] = Field(
        default=100, description="of so many."
    )

    @model_validator(mode="after")
    def _a_part(self) -> Fraction:
        if self.numerator > self.denominator:
            raise ValueError("numerator is at most denominator")
        return self


class RequestMirror(Fields):
    """Requests are sent to this Backend too; what it answers is thrown away."""

    backend_ref: BackendObjectRef = Field(description="Where the copies go.")
    percent: Annotated[Integer, Field(ge=0, le=100)] | None = Field(
        default=None, description="How many in a hundred; not given, and no `fraction`: all."
    )
    fraction: Fraction | None = Field(default=None, description="The same, finer.")

    @model_validator(mode="after")
    def _one_of_two(self) -> RequestMirror:
        if self.percent is not None and self.fraction is not None:
            raise ValueError("percent and fraction say the same; keep one of them")
        return self

    @property
    def share(self) -> float:
        """The part of the requests that is mirrored, 0 to 1."""
        if self.fraction is not None:
            return self.fraction.numerator / self.fraction.denominator
        return 1.0 if self.percent is None else self.percent / 100


class ExtensionRef(Fields):
    """A filter of ours, in the namespace of the route."""

    group: Literal["weir.dev"] = Field(default="weir.dev", description="Weir's own.")
    kind: Literal["HTTPRouteFilter"] = Field(default="HTTPRouteFilter", description="Always.")
    name: Name = Field(description="Name of the HTTPRouteFilter.")


class Filter(Fields):
    """One thing that is done; the field that `type` names says how."""

    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestRedirect",
        "URLRewrite",
        "RequestMirror",
        "CORS",
        "ExtensionRef",
    ] = Field(description="Which of the fields below is given.")
    request_header_modifier: HeaderModifier | None = Field(
        default=None, description="Headers of the request."
    )
    response_header_modifier: HeaderModifier | None = Field(
        default=None, description="Headers of the response."
    )
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    request_mirror: RequestMirror | None = None
    cors: Cors | None = None
    extension_ref: ExtensionRef | None = None

    @model_validator(mode="after")
    def _fits(self) -> Filter:
        fields = {
            "RequestHeaderModifier": ("requestHeaderModifier", self.request_header_modifier),
            "ResponseHeaderModifier": ("responseHeaderModifier", self.response_header_modifier),
            "RequestRedirect": ("requestRedirect", self.request_redirect),
            "URLRewrite": ("urlRewrite", self.url_rewrite),
            "RequestMirror": ("requestMirror", self.request_mirror),
            "CORS": ("cors", self.cors),
            "ExtensionRef": ("extensionRef", self.extension_ref),
        }
        require_named(self.type, fields)
        return self

    @property
    def replaces_prefix(self) -> bool:
        """Whether it is about the prefix that the rule's match names."""
        one = self.request_redirect or self.url_rewrite
        return one is not None and one.path is not None and one.path.type == "ReplacePrefixMatch"


def together(filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
    """The filters themselves. Raises `ValueError` where they exclude one another."""
    times = Counter(one.type for one in filters)
    for kind, count in times.items():
        if count > 1 and kind != "RequestMirror":
            raise ValueError(f"{kind} stands here {count} times; put them into one")
    if times["RequestRedirect"] and times["URLRewrite"]:
        raise ValueError("RequestRedirect and URLRewrite exclude each other; keep one of them")
    return filters


Filters = Annotated[tuple[Filter, ...], AfterValidator(together)]
"""Filters of one rule or of one of its backendRefs."""
