"""Secrets for Envoy (SDS): certificates with their keys, and the CAs that are believed."""

from __future__ import annotations

from pathlib import PurePosixPath

from envoy_data_plane.envoy.config.core.v3 import DataSource, WatchedDirectory
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    SdsSecretConfig,
    TlsCertificate,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret as EnvoySecret

from controlplane.resources.certificate_files import CertificateFiles
from controlplane.resources.certificates import OCSP
from controlplane.resources.secret import CERTIFICATE, KEY, Secret
from controlplane.resources.trust import Bundle
from controlplane.translate.types import FROM_ADS
from controlplane.translate.wire import wire


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


def files(name: str, at: CertificateFiles) -> bytes:
    """The resource of a certificate that Envoy reads from its own disk, again when it changes.

    Envoy watches the folder: for files that are renamed into it, and for the swapped link of a
    mounted Secret.
    """
    held = wire(
        TlsCertificate,
        certificate_chain=wire(DataSource, filename=at.certificate),
        private_key=wire(DataSource, filename=at.key),
        watched_directory=wire(WatchedDirectory, path=str(PurePosixPath(at.certificate).parent)),
    )
    return wire(EnvoySecret, name=name, tls_certificate=held)


def believed(bundle: Bundle) -> bytes:
    """The resource of the CAs that are believed in one place."""
    context = wire(CertificateValidationContext, trusted_ca=_inline(bundle.pem))
    return wire(EnvoySecret, name=bundle.name, validation_context=context)


def by_name(name: str) -> bytes:
    """Where Envoy reads a secret: from us."""
    return wire(SdsSecretConfig, name=name, sds_config=FROM_ADS)


def _inline(value: bytes) -> bytes:
    return wire(DataSource, inline_bytes=value)
