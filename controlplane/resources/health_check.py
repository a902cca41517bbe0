"""How a `TrafficPolicy` has an Envoy find out which endpoints of a Backend serve."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from controlplane.resources.connections import Limit, Percent
from controlplane.resources.delivery import distinct
from controlplane.resources.kinds import Duration, Fields, Flag, Hostname, Integer

_PATH = re.compile(r"/[!-~]*")


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError("want a path such as /healthz: it begins with '/', printable, no spaces")
    return text


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
    expected_statuses: Annotated[
        tuple[Annotated[Integer, Field(ge=100, le=599)], ...], AfterValidator(distinct)
    ] = Field(default=(200,), min_length=1, max_length=100, description="Statuses of the healthy.")


class Payload(Fields):
    """Bytes on a connection."""

    type: Literal["Text"] = "Text"
    text: Annotated[str, Field(min_length=1, max_length=4096)] = Field(description="As it is.")


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


class ActiveCheck(Fields):
    """Each Envoy asks each endpoint. One that fails gets no requests until it passes again."""

    type: Literal["HTTP", "TCP"] = Field(description="How it is asked.")
    http: HttpCheck | None = Field(default=None, description="With `type: HTTP`.")
    tcp: TcpCheck | None = Field(default=None, description="With `type: TCP`.")
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
        if self.tcp is not None and self.type != "TCP":
            raise ValueError("tcp is given with type TCP alone")
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
