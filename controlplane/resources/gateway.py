"""`Gateway`: where a fleet of Envoys listens. Its `namespace/name` is their node.cluster."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from controlplane.resources.certificate_files import CertificateFiles, checked, files_of
from controlplane.resources.kinds import (
    GATEWAY_API_GROUP,
    Document,
    Fields,
    GatewayApiVersion,
    Hostname,
    Name,
    Namespace,
    Port,
)
from controlplane.resources.namespace import LabelSelector

ROUTE_KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "HTTP": ("HTTPRoute", "GRPCRoute"),
        "HTTPS": ("HTTPRoute", "GRPCRoute"),
        "Passthrough": ("TLSRoute",),
        "Terminate": ("TLSRoute", "TCPRoute"),
        "TCP": ("TCPRoute",),
        "UDP": ("UDPRoute",),
    }
)
"""What attaches to a listener, by its protocol, of protocol TLS by its mode."""
_WITH_TLS = ("HTTPS", "TLS")


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError("want an IP address such as 10.0.0.7 or 2001:db8::7") from error


def _address(text: str) -> str:
    return _ip_address(text) if text else text


IpAddress = Annotated[str, AfterValidator(_ip_address)]


class RouteNamespaces(Fields):
    """Namespaces whose routes may attach."""

    from_: Literal["Same", "All", "Selector"] = Field(
        default="Same",
        alias="from",
        description="`Same` namespace as the Gateway, `All`, or those that `selector` selects.",
    )
    selector: LabelSelector | None = Field(
        default=None, description="Labels of the namespaces, with `from: Selector`."
    )

    @model_validator(mode="after")
    def _fits(self) -> RouteNamespaces:
        if (self.from_ == "Selector") != (self.selector is not None):
            raise ValueError("selector is given with from: Selector, and with no other")
        return self


class RouteGroupKind(Fields):
    """A kind of routes."""

    group: str = Field(default=GATEWAY_API_GROUP, max_length=253, description="Its API group.")
    kind: str = Field(min_length=1, max_length=63, description="Such as `HTTPRoute`.")


class AllowedRoutes(Fields):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteGroupKind, ...] = Field(
        default=(), max_length=8, description="None: every kind that the protocol can carry."
    )


class SecretRef(Fields):
    """A Secret that is meant."""

    group: Literal[""] = Field(default="", description="Kubernetes' own.")
    kind: Literal["Secret"] = Field(default="Secret", description="Always.")
    name: Name = Field(description="Name of the Secret.")
    namespace: Namespace | None = Field(
        default=None,
        description="Default: that of the Gateway. In another one a ReferenceGrant must allow it.",
    )


class ListenerTls(Fields):
    """How TLS is ended. Versions, ciphers and client certificates stand in a ClientPolicy."""

    mode: Literal["Terminate", "Passthrough"] = Field(
        default="Terminate",
        description="TLS ends at Envoy, or, with protocol `TLS`, passes through to the Backend.",
    )
    certificate_refs: tuple[SecretRef, ...] = Field(
        default=(),
        max_length=8,
        description="With `Terminate`: Secrets with `tls.crt` and `tls.key` in PEM; several for "
        "clients of several kinds, such as ECDSA and RSA. `tls.ocsp-staple` is sent along where "
        "it is there.",
    )
    options: Annotated[dict[str, str], AfterValidator(checked)] = Field(
        default_factory=dict,
        description="`weir.dev/certificate-file` and `weir.dev/key-file`: a certificate on the "
        "machine of the Envoy, by absolute paths in one folder; new files are taken up.",
    )

    @model_validator(mode="after")
    def _fits(self) -> ListenerTls:
        shown = bool(self.certificate_refs or self.options)
        if self.mode == "Terminate" and not shown:
            raise ValueError("mode Terminate needs certificateRefs, or files by options")
        if self.mode == "Passthrough" and shown:
            raise ValueError(
                "mode Passthrough shows no certificate; take certificateRefs and options away"
            )
        return self

    @property
    def files(self) -> CertificateFiles | None:
        """The certificate on the machine of the Envoy."""
        return files_of(self.options)


class Listener(Fields):
    """One port, for one host name or for all."""

    name: Name = Field(description="Unique in the Gateway; routes may name it in `sectionName`.")
    hostname: Hostname | None = Field(
        default=None, description="Requests for this host alone; not given: for every host."
    )
    port: Port = Field(
        description="Port to listen on. One of TCP and one of UDP may have the same number, unless "
        "`HTTPS` is spoken there: HTTP/3 would be in the way."
    )
    protocol: Literal["HTTP", "HTTPS", "TLS", "TCP", "UDP"] = Field(
        description="`HTTPS` and `TLS`: which listener of the port is meant says the name that "
        "the client asks for (SNI). `HTTPS` ends TLS and carries requests, `TLS` carries whatever "
        "is in it, `TCP` any connection, `UDP` datagrams."
    )
    tls: ListenerTls | None = Field(default=None, description="With `HTTPS` and `TLS`.")
    allowed_routes: AllowedRoutes = Field(
        default=AllowedRoutes(), description="Which routes may attach."
    )

    @model_validator(mode="after")
    def _tls_where_it_belongs(self) -> Listener:
        if self.protocol == "HTTPS" and self.tls is None:
            raise ValueError("protocol HTTPS needs tls.certificateRefs")
        if self.protocol == "TLS" and self.tls is None:
            raise ValueError("protocol TLS needs tls, with a mode or with certificateRefs")
        if self.protocol not in _WITH_TLS and self.tls is not None:
            raise ValueError("tls is given with protocols HTTPS and TLS, and with no other")
        if self.protocol == "HTTPS" and self.passes_through:
            raise ValueError("mode Passthrough needs protocol TLS: requests cannot be read")
        if self.protocol in ("TCP", "UDP") and self.hostname is not None:
            raise ValueError(f"protocol {self.protocol} knows no host names; take hostname away")
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of routes that its protocol can carry."""
        of_tls = self.tls.mode if self.tls is not None else ""
        return ROUTE_KINDS[of_tls if self.protocol == "TLS" else self.protocol]

    @property
    def at(self) -> tuple[bool, int]:
        """Whether datagrams come in, and by which port."""
        return self.protocol == "UDP", self.port

    @property
    def passes_through(self) -> bool:
        """Whether TLS ends at the Backend."""
        return self.tls is not None and self.tls.mode == "Passthrough"

    @property
    def takes(self) -> tuple[str, ...]:
        """The kinds of routes that may attach."""
        if not self.allowed_routes.kinds:
            return self.kinds
        allowed = {(one.group, one.kind) for one in self.allowed_routes.kinds}
        return tuple(kind for kind in self.kinds if (GATEWAY_API_GROUP, kind) in allowed)


class GatewayAddress(Fields):
    """An address to listen on."""

    type: Literal["IPAddress"] = Field(default="IPAddress", description="No other is supported.")
    value: Annotated[str, AfterValidator(_address)] = Field(
        default="",
        description="An IP address of the machine the Envoy runs on; not given: all of IPv4.",
    )


class BackendTls(Fields):
    """TLS to Backends that have a BackendTLSPolicy."""

    client_certificate_ref: SecretRef | None = Field(
        default=None, description="What the Envoys show; not given: no certificate."
    )


class GatewayTls(Fields):
    """TLS of the Gateway as a whole."""

    backend: BackendTls = BackendTls()


class Infrastructure(Fields):
    """What is said of the objects that a Gateway is made of. Weir makes none: not looked at."""

    labels: dict[str, str] = Field(default_factory=dict, max_length=8, description="Not used.")
    annotations: dict[str, str] = Field(default_factory=dict, max_length=8, description="Not used.")


def _apart_from_http_3(protocols: Mapping[tuple[bool, int], str]) -> None:
    """Raises `ValueError` where datagrams come in by a port of HTTPS."""
    for by_udp, port in protocols:
        if by_udp and protocols.get((False, port)) in _WITH_TLS:
            raise ValueError(
                f"port {port} is wanted for UDP and for {protocols[False, port]}, where HTTP/3 may "
                "be spoken; give one of them another port"
            )


class GatewaySpec(Fields):
    """What the fleet listens to."""

    gateway_class_name: Name = Field(
        default="weir",
        description="Gateways of every class are served, but those of a GatewayClass that is "
        "declared with the name of another controller.",
    )
    listeners: tuple[Listener, ...] = Field(
        min_length=1, max_length=64, description="At least one."
    )
    addresses: tuple[GatewayAddress, ...] = Field(
        default=(), max_length=16, description="Where to listen; none: every IPv4 address."
    )
    tls: GatewayTls = GatewayTls()
    infrastructure: Infrastructure = Infrastructure()

    @model_validator(mode="after")
    def _distinct(self) -> GatewaySpec:
        names = [listener.name for listener in self.listeners]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"listener name {twice[0]!r} is used twice; give one of them another name"
            )
        taken: dict[tuple[bool, int, str], str] = {}
        protocols: dict[tuple[bool, int], str] = {}
        for listener in self.listeners:
            first = protocols.setdefault(listener.at, listener.protocol)
            if first != listener.protocol and not {first, listener.protocol} <= set(_WITH_TLS):
                raise ValueError(
                    f"port {listener.port} is wanted for {first} and for {listener.protocol}; "
                    "take another port for one of them"
                )
            place = (*listener.at, listener.hostname or "*")
            if place in taken:
                raise ValueError(
                    f"listeners {taken[place]!r} and {listener.name!r} both want port "
                    f"{listener.port} for host {place[-1]!r}; "
                    "give one of them another hostname or port"
                )
            taken[place] = listener.name
        _apart_from_http_3({one.at: one.protocol for one in self.listeners})
        return self


class Gateway(Document):
    """A fleet of Envoys and where it listens."""

    about: ClassVar[str] = (
        "A fleet of Envoys: those whose `node.cluster` is the Gateway's `namespace/name`, or "
        "its bare name where that is unique. Listeners that share a port differ in "
        "`hostname`; a request belongs to the one that fits its host best."
    )
    api_version: GatewayApiVersion
    kind: Literal["Gateway"]
    spec: GatewaySpec


def listener_named(gateway: Gateway, name: str) -> Listener:
    """The listener of this name, which is there."""
    return next(one for one in gateway.spec.listeners if one.name == name)
