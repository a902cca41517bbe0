"""HTTP with clients, as a `ClientPolicy` says it: addresses, headers, paths, protocols."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.filters import HeaderModifier
from controlplane.resources.kinds import Fields, Flag, Integer, first_twice
from controlplane.resources.quantity import Size

_TOKEN = re.compile(r"[a-z0-9!#$%&'*+\-.^_`|~]+")


def _header(text: str) -> str:
    name = text.lower()
    if not _TOKEN.fullmatch(name):
        raise ValueError("want the name of a header, such as x-client-ip")
    if name.startswith("x-envoy-"):
        raise ValueError("what begins with x-envoy- is taken from no client")
    return name


class XForwardedFor(Fields):
    """The header `x-forwarded-for`."""

    num_trusted_hops: Annotated[Integer, Field(ge=1, le=32)] = Field(
        description="How many proxies stand before this one and append to the header: the "
        "client's address is that many from its right."
    )


class CustomHeader(Fields):
    """A header that a proxy in front sets."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=255), AfterValidator(_header)
    ] = Field(description="It holds the client's address and nothing else.")
    fail_closed: Flag = Field(
        default=False, description="Requests without a valid one are answered 403."
    )


class ClientIpDetection(Fields):
    """Where the address of the client is taken from: one of the two."""

    x_forwarded_for: XForwardedFor | None = Field(default=None, description="Either this")
    custom_header: CustomHeader | None = Field(
        default=None,
        description="or this; only where every connection comes from that proxy: anybody can "
        "write a header.",
    )

    @model_validator(mode="after")
    def _one(self) -> ClientIpDetection:
        if (self.x_forwarded_for is None) == (self.custom_header is None):
            raise ValueError("give either xForwardedFor or customHeader")
        return self


CertDetail = Literal["Subject", "Cert", "Chain", "DNS", "URI"]


class XForwardedClientCert(Fields):
    """The header `x-forwarded-client-cert`, by which backends learn of a client's certificate."""

    mode: Literal[
        "Sanitize", "ForwardOnly", "AppendForward", "SanitizeSet", "AlwaysForwardOnly"
    ] = Field(
        default="Sanitize",
        description="`Sanitize`: removed. `SanitizeSet`: what is said of the client of this "
        "connection, and nothing else. `AppendForward`: that after what the client sent. "
        "`ForwardOnly`: as the client sent it, over mutual TLS. `AlwaysForwardOnly`: as "
        "anybody sent it.",
    )
    cert_details_to_add: tuple[CertDetail, ...] = Field(
        default=(),
        max_length=5,
        description="Beside the hash of the certificate; with `SanitizeSet` and `AppendForward`.",
    )

    @model_validator(mode="after")
    def _fits(self) -> XForwardedClientCert:
        if self.cert_details_to_add and self.mode not in ("SanitizeSet", "AppendForward"):
            raise ValueError("certDetailsToAdd is taken with mode SanitizeSet or AppendForward")
        twice = first_twice(self.cert_details_to_add)
        if twice is not None:
            raise ValueError(f"{twice} is written twice; keep one of them")
        return self


def _whole_kib(size: int) -> int:
    if size % 1024 or not 1 <= size // 1024 <= 8192:
        raise ValueError("want whole KiB, 1Ki to 8192Ki")
    return size


class ClientHeaders(Fields):
    """Headers of requests and responses."""

    with_underscores_action: Literal["Allow", "RejectRequest", "DropHeader"] = Field(
        default="RejectRequest",
        description="Of headers with `_` in their name, which some servers take for `-`.",
    )
    x_forwarded_client_cert: XForwardedClientCert = XForwardedClientCert()
    enable_envoy_headers: Flag = Field(
        default=False,
        description="`x-envoy-*` headers are added to requests and responses: how long it took, "
        "how long it may take, and `x-envoy-overloaded` where a circuit breaker answers.",
    )
    preserve_x_request_id: Flag = Field(
        default=False,
        alias="preserveXRequestID",
        description="The client's `x-request-id` is kept.",
    )
    max_size: Annotated[Size, AfterValidator(_whole_kib)] = Field(
        default=60 * 1024,
        description="Of all headers of a request, in whole KiB; what is larger is answered 431.",
    )
    max_count: Annotated[Integer, Field(ge=1, le=10_000)] = Field(
        default=100, description="Headers of a request; what has more is answered 431."
    )
    early_request_headers: HeaderModifier | None = Field(
        default=None, description="Of requests, before they are matched."
    )
    late_response_headers: HeaderModifier | None = Field(
        default=None, description="Of answers of every route, after what the route did."
    )


class ClientPath(Fields):
    """How paths are made plain before a route is chosen."""

    escaped_slashes_action: Literal[
        "KeepUnchanged", "RejectRequest", "UnescapeAndForward", "UnescapeAndRedirect"
    ] = Field(
        default="UnescapeAndRedirect", description="Of `%2F` and `%5C`: a rule must not be evaded."
    )
    disable_merge_slashes: Flag = Field(default=False, description="`//` is not made `/`.")


class Http10(Fields):
    """HTTP/1.0."""

    use_default_host: Flag = Field(
        default=False,
        description="A request without a host is for the listener's hostname, which is no "
        "wildcard; else such a request is answered 400.",
    )


class Http1(Fields):
    """HTTP/1.1."""

    http10: Http10 | None = Field(default=None, description="Not given: HTTP/1.0 is answered 426.")


def _window(size: int) -> int:
    if not 65_535 <= size <= 2**31 - 1:
        raise ValueError("want 65535 bytes to 2 GiB")
    return size


Window = Annotated[Size, AfterValidator(_window)]


class Http2(Fields):
    """HTTP/2: what one client may have underway."""

    initial_stream_window_size: Window = Field(
        default=64 * 1024, description="Bytes of a stream that are not taken in yet."
    )
    initial_connection_window_size: Window = Field(
        default=1024 * 1024, description="The same of a connection."
    )
    max_concurrent_streams: Annotated[Integer, Field(ge=1, le=2**31 - 1)] = Field(
        default=100, description="Streams of a connection at a time."
    )


class Http3(Fields):
    """HTTP/3: the same port over UDP, which responses over TCP tell of (`alt-svc`)."""


class HealthCheck(Fields):
    """Answered by Envoy itself, for who watches it: 200, or 503 while it drains."""

    path: Annotated[
        str, StringConstraints(pattern=r"^/[-._~!$&'()*+,;=:@/%a-zA-Z0-9]{0,1023}$")
    ] = Field(description="The whole path; requests for it reach no backend.")
