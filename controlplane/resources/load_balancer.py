"""How a `TrafficPolicy` has an Envoy choose among the endpoints of a Backend."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.delivery import token
from controlplane.resources.kinds import Duration, Fields, Integer
from controlplane.resources.matches import HeaderName

MAX_TABLE = 5_000_011
"""Envoy's largest Maglev table."""


class HashHeader(Fields):
    """The header whose value decides."""

    name: HeaderName = Field(description="Name of the header; requests without one go anywhere.")


class HashCookie(Fields):
    """The cookie whose value decides."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(token)] = (
        Field(description="Name of the cookie.")
    )
    ttl: Duration | None = Field(
        default=None,
        description="Who has no cookie gets one for so long; `0s`: until the browser ends. Not "
        "given: none is set, and requests without one go anywhere.",
    )


class ConsistentHash(Fields):
    """What of a request decides, so that equal ones go to one endpoint."""

    type: Literal["SourceIP", "Header", "Cookie"] = Field(description="What decides.")
    header: HashHeader | None = Field(default=None, description="With `type: Header`.")
    cookie: HashCookie | None = Field(default=None, description="With `type: Cookie`.")
    algorithm: Literal["Maglev", "RingHash"] = Field(
        default="Maglev",
        description="`Maglev` is faster; `RingHash` moves fewer when endpoints come and go.",
    )
    table_size: Annotated[Integer, Field(ge=2, le=MAX_TABLE)] | None = Field(
        default=None,
        description="Entries of the Maglev table, a prime number; a hundred for each endpoint or "
        "more. With `RingHash`: points of the ring, at least. Not given: 65537, and 1024.",
    )

    @model_validator(mode="after")
    def _of_its_type(self) -> ConsistentHash:
        for kind, given in (("Header", self.header), ("Cookie", self.cookie)):
            if (self.type == kind) != (given is not None):
                raise ValueError(f"{kind.lower()} is given with type {kind}, and with no other")
        if self.algorithm == "Maglev" and self.table_size and not _is_prime(self.table_size):
            raise ValueError(f"tableSize {self.table_size} is no prime number; 65537 is one")
        return self


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


class LoadBalancer(Fields):
    """How one of the endpoints is chosen."""

    type: Literal["LeastRequest", "ConsistentHash"] = Field(
        description="`LeastRequest`: the one with the fewest requests in flight, within the "
        "weights; it is so without a policy. `ConsistentHash`: always the same for equal requests."
    )
    consistent_hash: ConsistentHash | None = Field(
        default=None, description="With `type: ConsistentHash`."
    )

    @model_validator(mode="before")
    @classmethod
    def _no_slow_start(cls, given: object) -> object:
        if isinstance(given, dict) and "slowStart" in given:
            raise ValueError(
                "slowStart is not supported: while it lasts Envoy leaves the choice by requests in "
                "flight; new endpoints start slowly by guard.warmup of a BalancingPolicy"
            )
        return given

    @model_validator(mode="after")
    def _of_its_type(self) -> LoadBalancer:
        if (self.type == "ConsistentHash") != (self.consistent_hash is not None):
            raise ValueError("consistentHash is given with type ConsistentHash, and with no other")
        return self
