"""TLS with clients, as a `ClientPolicy` says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.ca_refs import CaRef
from controlplane.resources.kinds import Fields, Flag
from controlplane.resources.patterns import check_pattern

TlsVersion = Literal["1.2", "1.3"]
Cipher = Annotated[str, StringConstraints(pattern=r"^\[?[A-Z0-9_|+-]{3,200}\]?$")]
Curve = Literal["X25519MLKEM768", "X25519", "P-256", "P-384", "P-521"]
SignatureAlgorithm = Literal[
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512",
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "ed25519",
]
"""Those that BoringSSL knows and that are not broken."""
Alpn = Literal["http/1.0", "http/1.1", "h2"]


class NameMatch(Fields):
    """How a name in a certificate is compared."""

    type: Literal["Exact", "Prefix", "Suffix", "RegularExpression"] = Field(
        default="Exact", description="`RegularExpression`: RE2, the whole name."
    )
    value: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="What it is compared with."
    )

    @model_validator(mode="after")
    def _pattern(self) -> NameMatch:
        if self.type == "RegularExpression":
            check_pattern(self.value)
        return self


class SubjectAltNames(Fields):
    """Names of certificates that are let in: one of all these is enough."""

    dns_names: tuple[NameMatch, ...] = Field(default=(), max_length=64, description="DNS names.")
    email_addresses: tuple[NameMatch, ...] = Field(
        default=(), max_length=64, description="Email addresses."
    )
    ip_addresses: tuple[NameMatch, ...] = Field(
        default=(), max_length=64, description="IP addresses."
    )
    uris: tuple[NameMatch, ...] = Field(
        default=(), max_length=64, description="URIs, such as SPIFFE IDs."
    )


class ClientValidation(Fields):
    """Certificates of clients (mutual TLS)."""

    optional: Flag = Field(
        default=False,
        description="Clients without a certificate are let in; one that is shown must be valid.",
    )
    ca_certificate_refs: tuple[CaRef, ...] = Field(
        min_length=1,
        max_length=8,
        description="The CAs that are believed. A listener for which none can be found does not "
        "open.",
    )
    subject_alt_names: SubjectAltNames | None = Field(
        default=None, description="Which certificates of these CAs; not given: all."
    )


def _distinct(entries: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(entries)) < len(entries):
        raise ValueError("an entry is written twice; keep one of them")
    return entries


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
    ecdh_curves: Annotated[tuple[Curve, ...], AfterValidator(_distinct)] = Field(
        default=(),
        max_length=5,
        description="For the exchange of keys, the most wanted first; none given: Envoy's own.",
    )
    signature_algorithms: Annotated[tuple[SignatureAlgorithm, ...], AfterValidator(_distinct)] = (
        Field(default=(), max_length=16, description="None given: Envoy's own.")
    )
    alpn_protocols: Annotated[tuple[Alpn, ...], AfterValidator(_distinct)] = Field(
        default=("h2", "http/1.1"),
        max_length=3,
        description="What is offered over TCP, the most wanted first; `[]`: nothing.",
    )
    client_validation: ClientValidation | None = Field(
        default=None, description="Not given: clients are asked for no certificate."
    )

    @model_validator(mode="after")
    def _ordered(self) -> ClientTls:
        if self.min_version > self.max_version:
            raise ValueError("minVersion is at most maxVersion")
        return self
