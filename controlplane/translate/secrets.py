"""Secrets for Envoy (SDS): certificates with their keys."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    SdsSecretConfig,
    TlsCertificate,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret as EnvoySecret

from controlplane.resources.secret import CERTIFICATE, KEY, Secret
from controlplane.translate.types import FROM_ADS
from controlplane.translate.wire import wire

OCSP = "tls.ocsp-staple"
"""An OCSP response in DER, to be sent to clients with the certificate."""


def certificate(secret: Secret) -> bytes:
    """The resource of a certificate; its name is `namespace/name`."""
    held = wire(
        TlsCertificate,
        certificate_chain=_inline(secret.value(CERTIFICATE) or b""),
        private_key=_inline(secret.value(KEY) or b""),
    )
    staple = secret.value(OCSP)
    if staple is not None:
        held += wire(TlsCertificate, ocsp_staple=_inline(staple))
    return wire(EnvoySecret, name=secret.key, tls_certificate=held)


def by_name(name: str) -> bytes:
    """Where Envoy reads a secret: from us."""
    return wire(SdsSecretConfig, name=name, sds_config=FROM_ADS)


def _inline(value: bytes) -> bytes:
    return wire(DataSource, inline_bytes=value)
