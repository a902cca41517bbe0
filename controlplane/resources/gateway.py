"""`Gateway`: where a fleet of Envoys listens. Its `namespace/name` is their node.cluster."""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from controlplane.resources.certificate_files import CertificateFiles, checked, files_of
from controlplane.resources.kinds import (
    Document,
    Fields,
    GatewayApiVersion,
    Hostname,
    Name,
    Namespace,
    Port,
)


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


class SecretRef(Fields):
    """A Secret that is meant."""

    group: Literal[""] = ""
    kind: Literal["Secret"] = "Secret"
    name: Name = Field(description="Name of the Secret.")
    namespace: Namespace | None = Field(
        default=None,
        description="Default: that of the Gateway. In another one a ReferenceGrant must allow it.",
    )


class ListenerTls(Fields):
    """How TLS is ended. Versions, ciphers and client certificates stand in a ClientPolicy."""

    mode: Literal["Terminate"] = Field(default="Terminate", description="TLS ends at Envoy.")
    certificate_refs: tuple[SecretRef, ...] = Field(
        default=(),
        max_length=8,
        description="Secrets with `tls.crt` and `tls.key` in PEM; several for clients of several "
        "kinds, such as ECDSA and RSA. `tls.ocsp-staple` is sent along where it is there.",
    )
    options: Annotated[dict[str, str], AfterValidator(checked)] = Field(
        default_factory=dict,
        description="`weir.dev/certificate-file` and `weir.dev/key-file`: a certificate on the "
        "machine of the Envoy, by absolute paths in one folder; new files are taken up.",
    )

    @model_validator(mode="after")
    def _some(self) -> ListenerTls:
        if not self.certificate_refs and not self.options:
            raise ValueError("want certificateRefs, or files by options")
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
    port: Port = Field(description="TCP port to listen on.")
    protocol: Literal["HTTP", "HTTPS"] = Field(
        description="`HTTPS` ends TLS; which listener is meant says the name that the client asks "
        "for (SNI)."
    )
    tls: ListenerTls | None = Field(default=None, description="With `HTTPS`.")
    allowed_routes: AllowedRoutes = Field(
        default=AllowedRoutes(), description="Which routes may attach."
    )

    @model_validator(mode="after")
    def _tls_where_it_belongs(self) -> Listener:
        if (self.tls is not None) != (self.protocol == "HTTPS"):
            raise ValueError(
                "tls is given with protocol HTTPS, and with no other"
                if self.tls
                else "protocol HTTPS needs tls.certificateRefs"
            )
        return self


class GatewayAddress(Fields):
    """An address to listen on."""

    type: Literal["IPAddress"] = "IPAddress"
    value: IpAddress = Field(description="An IP address of the machine the Envoy runs on.")


class BackendTls(Fields):
    """TLS to Backends that have a BackendTLSPolicy."""

    client_certificate_ref: SecretRef | None = Field(
        default=None, description="What the Envoys show; not given: no certificate."
    )


class GatewayTls(Fields):
    """TLS of the Gateway as a whole."""

    backend: BackendTls = BackendTls()


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

    @model_validator(mode="after")
    def _distinct(self) -> GatewaySpec:
        names = [listener.name for listener in self.listeners]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"listener name {twice[0]!r} is used twice")
        taken: dict[tuple[int, str], str] = {}
        protocols: dict[int, str] = {}
        for listener in self.listeners:
            if protocols.setdefault(listener.port, listener.protocol) != listener.protocol:
                raise ValueError(f"port {listener.port} is wanted for HTTP and for HTTPS")
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
