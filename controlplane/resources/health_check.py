"""How a `TrafficPolicy` has an Envoy find out which endpoints of a Backend serve."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.connections import Limit, Percent
from controlplane.resources.delivery import distinct
from controlplane.resources.filters import HttpHeader
from controlplane.resources.kinds import Duration, Fields, Flag, Hostname, Integer, first_twice

_PATH = re.compile(r"/[!-~]*")


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError("want a path such as /healthz: it begins with '/', printable, no spaces")
    return text


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("want bytes in base64, such as AQID") from error
    return text


class Payload(Fields):
    """Bytes on a connection."""

    type: Literal["Text", "Binary"] = Field(
        default="Text", description="Which of the fields below is given."
    )
    text: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="As it is."
    )
    binary: Annotated[str, Field(min_length=1, max_length=8192), AfterValidator(_base64)] | None = (
        Field(default=None, description="In base64.")
    )

    @model_validator(mode="after")
    def _as_typed(self) -> Payload:
        given = {"Text": self.text is not None, "Binary": self.binary is not None}
        if given != {"Text": self.type == "Text", "Binary": self.type == "Binary"}:
            raise ValueError("type Text has text alone, type Binary has binary alone")
        return self

    @property
    def content(self) -> bytes:
        """The bytes."""
        if self.binary is not None:
            return base64.b64decode(self.binary)
        return (self.text or "").encode()


class HttpCheck(Fields):
    """A request that an endpoint must answer."""

    path: Annotated[str, Field(max_length=1024), AfterValidator(_path)] = Field(
        description="What is asked for."
    )
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE"] = Field(
        default="GET", description="The method of the request; it has no body."
    )
    hostname: Hostname | None = Field(
        default=None, description="Host of the request; not given: the name of the Backend."
    )
    request_headers: tuple[HttpHeader, ...] = Field(
        default=(), max_length=16, description="Sent along, such as one that says who asks."
    )
    expected_statuses: Annotated[
        tuple[Annotated[Integer, Field(ge=100, le=599)], ...], AfterValidator(distinct)
    ] = Field(default=(200,), min_length=1, max_length=100, description="Statuses of the healthy.")
    expected_response: Payload | None = Field(
        default=None,
        description="What must be in the body, within its first 16 KiB; not given: anything.",
    )

    @model_validator(mode="after")
    def _fits(self) -> HttpCheck:
        twice = first_twice([one.name.lower() for one in self.request_headers])
        if twice is not None:
            raise ValueError(f"{twice} is written twice")
        if self.expected_response is not None and self.method == "HEAD":
            raise ValueError("an answer to HEAD has no body to expect; take another method")
        return self


class TcpCheck(Fields):
    """A connection that an endpoint must take."""

    send: Payload | None = Field(default=None, description="Not given: to connect is enough.")
    receive: Payload | None = Field(
        default=None, description="What must come back, other bytes around it or not."
    )

    @model_validator(mode="after")
    def _asks_before_it_hears(self) -> TcpCheck:
        if self.receive and not self.send:
            raise ValueError("receive needs send: without one, to connect is all that is looked at")
        return self


class GrpcCheck(Fields):
    """A call of `grpc.health.v1.Health/Check` that an endpoint must answer with `SERVING`."""

    service: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="Whose health is asked for; not given: that of the whole server."
    )


class RedisCheck(Fields):
    """A command that a Redis must answer."""

    key: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="",
        description="An endpoint that has this key is taken for unhealthy: so it is taken out for "
        "maintenance. Not given: it must answer `PING`.",
    )


class ActiveCheck(Fields):
    """Each Envoy asks each endpoint. One that fails gets no requests until it passes again."""

    type: Literal["HTTP", "TCP", "GRPC", "Redis"] = Field(
        description="How it is asked. `GRPC` needs a Backend that is spoken to in HTTP/2."
    )
    http: HttpCheck | None = Field(default=None, description="With `type: HTTP`.")
    tcp: TcpCheck | None = Field(default=None, description="With `type: TCP`.")
    grpc: GrpcCheck | None = Field(default=None, description="With `type: GRPC`.")
    redis: RedisCheck | None = Field(default=None, description="With `type: Redis`.")
    timeout: Annotated[Duration, Field(ge=0.001, le=60)] = Field(
        default=1.0, description="No answer for so long is a failure."
    )
    interval: Annotated[Duration, Field(ge=0.1, le=3600)] = Field(
        default=3.0, description="Between two checks of an endpoint; with up to a tenth more."
    )
    unhealthy_threshold: Limit = Field(
        default=3, description="Failures in a row that make it unhealthy."
    )
    healthy_threshold: Limit = Field(
        default=1, description="Successes in a row that make it healthy again."
    )

    @model_validator(mode="after")
    def _of_its_type(self) -> ActiveCheck:
        if (self.type == "HTTP") != (self.http is not None):
            raise ValueError("http is given with type HTTP, and with no other")
        for word, kind, given in (
            ("tcp", "TCP", self.tcp),
            ("grpc", "GRPC", self.grpc),
            ("redis", "Redis", self.redis),
        ):
            if given is not None and self.type != kind:
                raise ValueError(f"{word} is given with type {kind} alone")
        return self


class PassiveCheck(Fields):
    """An endpoint whose requests fail is taken out for a while (outlier detection).

    What is not given stays as it is without a policy.
    """

    split_external_local_origin_errors: Flag = Field(
        default=False,
        description="Whether failures to connect are counted apart from answers with 5xx.",
    )
    interval: Annotated[Duration, Field(ge=0.1, le=3600)] = Field(
        default=2.0, description="How often it is looked at who comes back."
    )
    consecutive_local_origin_failures: Limit = Field(
        default=5, description="Failures to connect in a row, where they are counted apart."
    )
    consecutive_gateway_errors: Limit = Field(
        default=5, description="Answers with 502, 503 or 504 in a row that take it out."
    )
    consecutive_5xx_errors: Limit = Field(
        default=5,
        alias="consecutive5XxErrors",
        description="Answers with 5xx in a row that take it out.",
    )
    base_ejection_time: Annotated[Duration, Field(ge=0.1)] = Field(
        default=15.0, description="For so long, times how often it was taken out of late."
    )
    max_ejection_percent: Annotated[Integer, Field(ge=0, le=100)] = Field(
        default=50, description="So many endpoints are out at most; `0`: none ever is."
    )


class HealthCheck(Fields):
    """Which endpoints get requests."""

    active: ActiveCheck | None = Field(default=None, description="Not given: nobody is asked.")
    passive: PassiveCheck = PassiveCheck()
    panic_threshold: Percent | None = Field(
        default=None,
        description="With fewer healthy endpoints than this, in percent, health is not believed "
        "and all get requests; `0`: it is always believed. Not given: 50.",
    )
