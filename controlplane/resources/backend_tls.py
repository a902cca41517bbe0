"""`BackendTLSPolicy`: connections to a Backend are encrypted, and whom they believe there."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from controlplane.resources.ca_refs import LocalCaRef
from controlplane.resources.kinds import Fields, GatewayApiVersion, Hostname
from controlplane.resources.target import Policy, PolicySpec, SectionTargetRef


class BackendTlsTargetRef(SectionTargetRef):
    """A Backend, or a Service or one of its ports."""

    kind: Literal["Backend", "Service"] = Field(description="Every Gateway speaks TLS with it.")


class SubjectAltName(Fields):
    """A name in the certificate of a Backend."""

    type: Literal["Hostname", "URI"] = Field(description="Which kind of name.")
    hostname: Hostname | None = Field(default=None, description="With `Hostname`.")
    uri: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9+.-]*:[^\s]+$", max_length=253),
        ]
        | None
    ) = Field(default=None, description="With `URI`, such as a SPIFFE ID.")

    @model_validator(mode="after")
    def _fits(self) -> SubjectAltName:
        want_host = self.type == "Hostname"
        if (self.hostname is not None) != want_host or (self.uri is not None) == want_host:
            raise ValueError("type Hostname has hostname, type URI has uri, and nothing else")
        return self


class BackendTlsValidation(Fields):
    """Whom to believe."""

    ca_certificate_refs: tuple[LocalCaRef, ...] = Field(
        default=(),
        max_length=8,
        description="CAs in the namespace of the policy. Where none can be found, requests are "
        "answered 503: nothing is sent in the clear.",
    )
    well_known_ca_certificates: Literal["System"] | None = Field(
        default=None,
        alias="wellKnownCACertificates",
        description="Instead of these: the CAs of the machine that the Envoy runs on.",
    )
    hostname: Hostname = Field(
        description="Asked for (SNI), and in the certificate unless `subjectAltNames` are given."
    )
    subject_alt_names: tuple[SubjectAltName, ...] = Field(
        default=(), max_length=5, description="One of these must be in the certificate."
    )

    @model_validator(mode="after")
    def _fits(self) -> BackendTlsValidation:
        if bool(self.ca_certificate_refs) == (self.well_known_ca_certificates is not None):
            raise ValueError("give either caCertificateRefs or wellKnownCACertificates")
        if self.hostname.startswith("*"):
            raise ValueError("hostname is what is asked for: it has no '*'")
        return self


class BackendTlsPolicySpec(PolicySpec):
    """Which Backends, and whom to believe there."""

    target_refs: tuple[BackendTlsTargetRef, ...] = Field(
        min_length=1, max_length=16, description="What the policy is for."
    )
    validation: BackendTlsValidation


class BackendTlsPolicy(Policy):
    """TLS to Backends."""

    about: ClassVar[str] = (
        "Connections to the endpoints of a Backend, those of health checks too, are made with TLS "
        "1.2 or 1.3. Of two for one Backend the older is in force, then the first by name."
    )
    api_version: GatewayApiVersion
    kind: Literal["BackendTLSPolicy"]
    spec: BackendTlsPolicySpec
