"""`ClientPolicy`: how clients of a Gateway are spoken with. The words are those of Envoy Gateway's
ClientTrafficPolicy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from controlplane.resources.authorization import ClientAddresses
from controlplane.resources.client_edge import ClientHeaders, EarlyData, LocalReply
from controlplane.resources.kinds import Fields, WeirApiVersion
from controlplane.resources.target import GatewayTargetRef, Policy, PolicySpec
from controlplane.resources.telemetry import ListenerTelemetry

TlsVersion = Literal["1.2", "1.3"]
Cipher = Annotated[str, StringConstraints(pattern=r"^\[?[A-Z0-9_|+-]{3,200}\]?$")]


class ClientTls(Fields):
    """TLS with clients."""

    min_version: TlsVersion = Field(default="1.2", description="The oldest that is spoken.")
    max_version: TlsVersion = Field(default="1.3", description="The newest that is spoken.")
    ciphers: tuple[Cipher, ...] = Field(
        default=(),
        max_length=32,
        description="Of TLS 1.2, by OpenSSL's names; none given: those with forward secrecy and "
        "authenticated encryption that Envoy takes by itself.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> ClientTls:
        if self.min_version > self.max_version:
            raise ValueError("minVersion is at most maxVersion")
        return self


class ClientPolicySpec(PolicySpec):
    """Which listeners, and how."""

    target_refs: tuple[GatewayTargetRef, ...] = Field(
        min_length=1, max_length=16, description="What the policy is for."
    )
    tls: ClientTls = ClientTls()
    headers: ClientHeaders = ClientHeaders()
    early_data: EarlyData = Field(
        default="Accept",
        description="Requests marked `early-data: 1` by a proxy before us, which anyone may replay "
        "(RFC 8470). `Accept` leaves it to the backend; `RejectUnsafe` answers 425 to all but GET, "
        "HEAD and OPTIONS.",
    )
    local_replies: tuple[LocalReply, ...] = Field(
        default=(), max_length=16, description="Envoy's own answers; the first that fits counts."
    )
    telemetry: ListenerTelemetry = ListenerTelemetry()
    client_addresses: ClientAddresses | None = Field(
        default=None,
        description="On a port of HTTP that listeners share, the lists of all of them count.",
    )


class ClientPolicy(Policy):
    """How clients are spoken with."""

    about: ClassVar[str] = (
        "The policy of a listener goes before that of its Gateway, as a whole. Of two for one "
        "target the older is in force, then the first by name; the other is reported."
    )
    api_version: WeirApiVersion
    kind: Literal["ClientPolicy"]
    spec: ClientPolicySpec
