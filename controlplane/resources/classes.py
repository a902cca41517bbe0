"""`classes` of a `TrafficPolicy`: which requests are worth more, and what each class may have."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from controlplane.resources.connections import CircuitBreaker
from controlplane.resources.kinds import DNS_LABEL, Fields, first_twice
from controlplane.resources.matches import HeaderMatch


def _name(text: str) -> str:
    if not DNS_LABEL.fullmatch(text):
        raise ValueError("want lower-case letters, digits and '-', such as gold")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(
            "want a network such as 10.0.0.0/8 or 2001:db8::/32, without bits of a host"
        ) from error


ClassName = Annotated[str, StringConstraints(min_length=1, max_length=63), AfterValidator(_name)]
Network = Annotated[str, AfterValidator(_network)]


class ClassMatch(Fields):
    """All that is given must hold."""

    headers: tuple[HeaderMatch, ...] = Field(
        default=(),
        max_length=16,
        description="As they are after authentication: a header that it sets, such as one of a "
        "claim or of the client of an API key, is known by then. A header that clients may write "
        "as they like is a class that they choose.",
    )
    client_cidrs: tuple[Network, ...] = Field(
        default=(),
        alias="clientCIDRs",
        max_length=256,
        description="The client's address is in one of these networks.",
    )


class TrafficClass(Fields):
    """Requests that are treated alike, and apart from others."""

    name: ClassName = Field(description="Unique in the policy; Envoy's route ends with it.")
    match: ClassMatch = Field(
        default=ClassMatch(), description="Not given: all the rest; for the last class alone."
    )
    priority: Literal["Default", "High"] = Field(
        default="Default",
        description="`High` counts its requests against the circuit breakers of high priority of "
        "the Backend, which others do not fill.",
    )
    circuit_breaker: CircuitBreaker | None = Field(
        default=None,
        description="What one Envoy sends of this class to a Backend at a time; the class then has "
        "an Envoy cluster of its own over the same endpoints and weights. Not given: it shares "
        "the Backend's with all that have none.",
    )

    @property
    def matches_all(self) -> bool:
        """Whether every request that is left belongs to it."""
        return not self.match.headers and not self.match.client_cidrs


def _in_order(classes: tuple[TrafficClass, ...]) -> tuple[TrafficClass, ...]:
    twice = first_twice([one.name for one in classes])
    if twice is not None:
        raise ValueError(f"two classes are called {twice!r}; give one of them another name")
    for one in classes[:-1]:
        if one.matches_all:
            raise ValueError(
                f"class {one.name!r} has no match and takes every request; put it last"
            )
    return classes


TrafficClasses = Annotated[tuple[TrafficClass, ...], AfterValidator(_in_order)]
