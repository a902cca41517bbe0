"""`Backend`: addresses that serve the same requests. Its `namespace/name` is the Envoy cluster."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.gateway import IpAddress
from controlplane.resources.kinds import Document, Fields, Flag, Hostname, Port, WeirApiVersion
from controlplane.resources.uris import of_a_machine

CAPACITY = "weir.dev/capacity"
REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
MAX_ENDPOINTS = 10_000

Word = Annotated[str, StringConstraints(max_length=253)]


def _labels(labels: dict[str, str]) -> dict[str, str]:
    text = labels.get(CAPACITY)
    if text is None:
        return labels
    try:
        capacity = float(text)
    except ValueError:
        capacity = math.nan
    if not 0 < capacity < math.inf:
        raise ValueError(f'label {CAPACITY} is {text!r}: want a number above 0, such as "2"')
    return labels


def _server(text: str) -> str:
    if not of_a_machine(text):
        raise ValueError(
            "want the address or name of a server: this one is of the link, or nobody's"
        )
    return text


class Ip(Fields):
    """An endpoint by address."""

    address: Annotated[IpAddress, AfterValidator(_server)] = Field(description="IPv4 or IPv6.")
    port: Port = Field(description="TCP port.")


class Fqdn(Fields):
    """Endpoints by name: each address that DNS gives is one."""

    hostname: Annotated[Hostname, AfterValidator(_server)] = Field(
        description="Resolved again and again while it is declared."
    )
    port: Port = Field(description="TCP port.")

    @model_validator(mode="after")
    def _no_wildcard(self) -> Fqdn:
        if self.hostname.startswith("*"):
            raise ValueError("a name to resolve has no '*'")
        return self


class BackendEndpoint(Fields):
    """One endpoint: `ip` or `fqdn`."""

    ip: Ip | None = Field(default=None, description="Either this")
    fqdn: Fqdn | None = Field(default=None, description="or this.")
    labels: Annotated[dict[Word, Word], AfterValidator(_labels)] = Field(
        default_factory=dict,
        max_length=64,
        description="What is known of it. `weir.dev/capacity` (a number relative to its peers) and "
        "`weir.dev/class` (endpoints of one class are alike) are used for balancing, "
        "`topology.kubernetes.io/region` says its region.",
    )
    zone: Word = Field(default="", description="Where it is; the region stands in a label.")
    draining: Flag = Field(
        default=False,
        description="`true`: it keeps the sessions that it has and gets no other requests. Where "
        "all endpoints of a Backend drain, none does: they serve as before.",
    )

    @model_validator(mode="after")
    def _one_address(self) -> BackendEndpoint:
        if (self.ip is None) == (self.fqdn is None):
            raise ValueError("an endpoint has either ip or fqdn, exactly one of them")
        return self


_H2C = ("kubernetes.io/h2c", "gateway.envoyproxy.io/h2c")
_WEBSOCKETS = ("kubernetes.io/ws", "gateway.envoyproxy.io/ws")


class BackendSpec(Fields):
    """The endpoints."""

    endpoints: tuple[BackendEndpoint, ...] = Field(
        max_length=MAX_ENDPOINTS,
        description="An endpoint that is taken out is removed from Envoy; `[]` removes all.",
    )
    fallback: Flag = Field(
        default=False,
        description="`true`: in a rule with other Backends it gets requests as far as these have "
        "no healthy endpoints. Its `weight` there does not count, as long as it is above 0.",
    )
    app_protocols: tuple[
        Literal[
            "kubernetes.io/h2c",
            "gateway.envoyproxy.io/h2c",
            "kubernetes.io/ws",
            "gateway.envoyproxy.io/ws",
        ],
        ...,
    ] = Field(
        default=(),
        max_length=4,
        description="`.../h2c`: HTTP/2 without TLS. `.../ws`: websockets, which HTTP/1.1 carries. "
        "None: HTTP/1.1, and HTTP/2 where a GRPCRoute leads to it.",
    )

    @model_validator(mode="after")
    def _one_protocol(self) -> BackendSpec:
        if self.h2c and set(self.app_protocols) & set(_WEBSOCKETS):
            raise ValueError("appProtocols say HTTP/2 and websockets; make two Backends of it")
        return self

    @property
    def h2c(self) -> bool:
        """Whether it says that HTTP/2 is spoken without TLS."""
        return bool(set(self.app_protocols) & set(_H2C))

    @model_validator(mode="after")
    def _distinct(self) -> BackendSpec:
        seen: set[tuple[str, int]] = set()
        for endpoint in self.endpoints:
            if endpoint.ip is not None:
                place = (endpoint.ip.address, endpoint.ip.port)
            else:
                assert endpoint.fqdn is not None
                place = (endpoint.fqdn.hostname, endpoint.fqdn.port)
            if place in seen:
                raise ValueError(
                    f"endpoint {place[0]}:{place[1]} is declared twice; keep one of them"
                )
            seen.add(place)
        return self


class Backend(Document):
    """Addresses that serve the same requests."""

    about: ClassVar[str] = (
        "Its `namespace/name` is the name of the Envoy cluster and of its endpoint "
        "assignment; an Envoy that keeps its own configuration may ask for it by that name, "
        "or by the bare name where it is unique. Endpoints are spoken to in HTTP/1.1 unless "
        "`appProtocols` or a GRPCRoute say otherwise."
    )
    api_version: WeirApiVersion
    kind: Literal["Backend"]
    spec: BackendSpec
