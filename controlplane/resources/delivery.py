"""How a rule of an `HTTPRoute` sends requests on: timeouts, retries, sessions."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.kinds import Duration, Fields, Integer, first_twice

T = TypeVar("T")

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


class Timeouts(Fields):
    """How long a request may take."""

    request: Duration = Field(
        default=15.0,
        description="From the whole request to the whole response; `0s`: no limit. Not given: no "
        "shorter than `backendRequest`.",
    )
    backend_request: Duration | None = Field(
        default=None,
        description="The same for each try; at most `request`. `0s` or not given: no other limit.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Timeouts:
        if "request" in self.model_fields_set and 0 < self.request < (self.backend_request or 0):
            raise ValueError("backendRequest is at most request, which covers all tries")
        return self

    def whole_s(self, usual_s: float | None = None) -> float:
        """Seconds for the request with all its tries; 0: no limit. `usual_s`: where it is not said
        here, if it is said elsewhere."""
        if "request" in self.model_fields_set:
            return self.request
        usual_s = self.request if usual_s is None else usual_s
        return max(usual_s, self.backend_request or 0) if usual_s else 0.0


def distinct(entries: tuple[T, ...]) -> tuple[T, ...]:
    """The same. Raises `ValueError` where one stands there more than once."""
    twice = first_twice(entries)
    if twice is not None:
        raise ValueError(f"{twice} is written twice; keep one of them")
    return entries


class Retry(Fields):
    """What is tried again, beside requests that never reached an endpoint."""

    codes: Annotated[
        tuple[Annotated[Integer, Field(ge=400, le=599)], ...], AfterValidator(distinct)
    ] = Field(default=(), max_length=200, description="Statuses that are tried again, 400 to 599.")
    attempts: Annotated[Integer, Field(ge=0, le=100)] = Field(
        default=1, description="How often, beside the first try; 0: never."
    )
    backoff: Annotated[Duration, Field(ge=0.001, le=3600)] | None = Field(
        default=None,
        description="Base of the wait between tries, which grows to ten times this, with jitter; "
        "not given: 25ms.",
    )


class CookieConfig(Fields):
    """How long a browser keeps the cookie."""

    lifetime_type: Literal["Permanent", "Session"] = Field(
        default="Session",
        description="`Session`: until the browser ends; `Permanent`: for `absoluteTimeout`.",
    )


def token(text: str) -> str:
    """The name of a cookie or header. Raises `ValueError` for what is none."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("want the name of a cookie or header, such as x-session")
    return text


class SessionPersistence(Fields):
    """Requests of one session go to one endpoint while it is there, whatever its weight."""

    session_name: (
        Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(token)]
        | None
    ) = Field(default=None, description="Name of the cookie or header; default: one of the rule's.")
    absolute_timeout: Duration | None = Field(
        default=None, description="Lifetime of a `Permanent` cookie; taken for that alone."
    )
    idle_timeout: Duration | None = Field(default=None, description="Not supported.")
    type: Literal["Cookie", "Header"] = Field(
        default="Cookie", description="What carries the session; a client sends it back."
    )
    cookie_config: CookieConfig | None = Field(default=None, description="Of a cookie alone.")

    @model_validator(mode="after")
    def _fits(self) -> SessionPersistence:
        permanent = self.cookie_config and self.cookie_config.lifetime_type == "Permanent"
        if self.idle_timeout is not None:
            raise ValueError("idleTimeout is not supported: Envoy keeps no sessions; leave it out")
        if self.cookie_config and self.type != "Cookie":
            raise ValueError("cookieConfig needs type Cookie")
        if permanent and not self.absolute_timeout:
            raise ValueError("lifetimeType Permanent needs an absoluteTimeout above 0s")
        if self.absolute_timeout is not None and not permanent:
            raise ValueError(
                "absoluteTimeout is supported with cookieConfig.lifetimeType Permanent alone: "
                "Envoy keeps no sessions"
            )
        return self
