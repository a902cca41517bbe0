"""`Gateway`: where a fleet of Envoys listens. Its `namespace/name` is their node.cluster."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from controlplane.resources.kinds import Document, Fields, GatewayApiVersion, Hostname, Name, Port


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError("want an IP address such as 10.0.0.7 or 2001:db8::7") from error


IpAddress = Annotated[str, AfterValidator(_ip_address)]


class RouteNamespaces(Fields):
    """Namespaces whose routes may attach."""

    from_: Literal["Same", "All"] = Field(
        default="Same", alias="from", description="`Same` namespace as the Gateway, or `All`."
    )


class AllowedRoutes(Fields):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()


class Listener(Fields):
    """One port, for one host name or for all."""

    name: Name = Field(description="Unique in the Gateway; routes may name it in `sectionName`.")
    hostname: Hostname | None = Field(
        default=None, description="Requests for this host alone; not given: for every host."
    )
    port: Port = Field(description="TCP port to listen on.")
    protocol: Literal["HTTP"] = Field(description="HTTP; TLS is not taken yet.")
    allowed_routes: AllowedRoutes = Field(
        default=AllowedRoutes(), description="Which routes may attach."
    )


class GatewayAddress(Fields):
    """An address to listen on."""

    type: Literal["IPAddress"] = "IPAddress"
    value: IpAddress = Field(description="An IP address of the machine the Envoy runs on.")


class GatewaySpec(Fields):
    """What the fleet listens to."""

    gateway_class_name: Name = Field(
        default="weir", description="Gateways of every class in the folder are served."
    )
    listeners: tuple[Listener, ...] = Field(
        min_length=1, max_length=64, description="At least one."
    )
    addresses: tuple[GatewayAddress, ...] = Field(
        default=(), max_length=16, description="Where to listen; none: every IPv4 address."
    )

    @model_validator(mode="after")
    def _distinct(self) -> GatewaySpec:
        names = [listener.name for listener in self.listeners]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"listener name {twice[0]!r} is used twice")
        taken: dict[tuple[int, str], str] = {}
        for listener in self.listeners:
            place = (listener.port, listener.hostname or "*")
            if place in taken:
                raise ValueError(
                    f"listeners {taken[place]!r} and {listener.name!r} both want port "
                    f"{place[0]} for host {place[1]!r}"
                )
            taken[place] = listener.name
        return self


class Gateway(Document):
    """A fleet of Envoys and where it listens."""

    api_version: GatewayApiVersion
    kind: Literal["Gateway"]
    spec: GatewaySpec
