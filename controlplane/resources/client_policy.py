"""`ClientPolicy`: how clients of a Gateway are spoken with. The words are those of Envoy Gateway's
ClientTrafficPolicy."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from controlplane.resources.authorization import ClientAddresses
from controlplane.resources.client_connection import (
    ClientConnection,
    ClientTimeouts,
    ProxyProtocol,
)
from controlplane.resources.client_edge import EarlyData, LocalReply
from controlplane.resources.client_http import (
    ClientHeaders,
    ClientIpDetection,
    ClientPath,
    HealthCheck,
    Http1,
    Http2,
    Http3,
)
from controlplane.resources.client_tls import ClientTls
from controlplane.resources.geo_ip import GeoIp
from controlplane.resources.kinds import Fields, WeirApiVersion
from controlplane.resources.target import GatewayTargetRef, Policy, PolicySpec
from controlplane.resources.telemetry import ListenerTelemetry


class ClientSettings(Fields):
    """How clients are spoken with; what is not given is careful enough for an edge."""

    tls: ClientTls = ClientTls()
    client_ip_detection: ClientIpDetection | None = Field(
        default=None,
        alias="clientIPDetection",
        description="Not given: the client is who made the connection.",
    )
    proxy_protocol: ProxyProtocol | None = Field(
        default=None, description="Not given: it is not spoken."
    )
    headers: ClientHeaders = ClientHeaders()
    path: ClientPath = ClientPath()
    timeout: ClientTimeouts = ClientTimeouts()
    connection: ClientConnection = ClientConnection()
    http1: Http1 = Http1()
    http2: Http2 = Http2()
    http3: Http3 | None = Field(default=None, description="`{}`: spoken too, where there is TLS.")
    health_check: HealthCheck | None = Field(default=None, description="Not given: none.")
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
    geo_ip: GeoIp | None = Field(
        default=None,
        alias="geoIP",
        description="Not given: nothing is told of where clients are. See "
        "[locality.md](../locality.md).",
    )

    @model_validator(mode="after")
    def _fits_http3(self) -> ClientSettings:
        if self.http3 is None:
            return self
        if self.tls.max_version < "1.3":
            raise ValueError("http3 needs TLS 1.3: set tls.maxVersion")
        if self.proxy_protocol is not None:
            raise ValueError("http3 and proxyProtocol do not go together: Envoy reads it over TCP")
        return self


class ClientPolicySpec(ClientSettings, PolicySpec):
    """Which listeners, and how."""

    target_refs: tuple[GatewayTargetRef, ...] = Field(
        min_length=1, max_length=16, description="What the policy is for."
    )
    client_addresses: ClientAddresses | None = Field(
        default=None,
        description="On a port of HTTP that listeners share, the lists of all of them count.",
    )


class ClientPolicy(Policy):
    """How clients are spoken with."""

    about: ClassVar[str] = (
        "The policy of a listener goes before that of its Gateway, as a whole. Of two for one "
        "target the older is in force, then the first by name; the other is reported. HTTP "
        "listeners that share a port are one for Envoy: a policy for one of them must be for all "
        "of them; so must what is said of `proxyProtocol`, `connection.bufferLimit` and "
        "`timeout.tcp.handshakeTimeout` on a shared port of HTTPS."
    )
    api_version: WeirApiVersion
    kind: Literal["ClientPolicy"]
    spec: ClientPolicySpec
