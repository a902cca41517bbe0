"""Certificates and keys of Secrets, looked at before Envoy is sent them.

Envoy refuses a secret that it cannot read, and a listener that waits for it does not open; so a
pair that does not fit is reported where it was declared.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import lru_cache

from controlplane.resources.secret import CA, CERTIFICATE, KEY, ConfigMap, Secret


@dataclass(frozen=True, slots=True)
class Certificate:
    """What people want to know of a certificate."""

    names: tuple[str, ...]
    """Its DNS names and addresses, or its subject's common name."""
    not_after: datetime.datetime


def pair_fault(secret: Secret) -> str:
    """Why a Secret is no certificate with its key; empty where it is one."""
    chain, key = secret.value(CERTIFICATE), secret.value(KEY)
    if chain is None or key is None:
        lacking = CERTIFICATE if chain is None else KEY
        return f"it has no {lacking}"
    return _pair_fault(chain, key)


def ca_fault(holder: Secret | ConfigMap) -> str:
    """Why it has no certificates of a CA; empty where it has."""
    found = holder.value(CA)
    return _certificates_fault(found, CA) if found is not None else f"it has no {CA}"


def certificate_of(secret: Secret) -> Certificate | None:
    """The first certificate of the chain; None where it cannot be read."""
    chain = secret.value(CERTIFICATE)
    return _read(chain) if chain is not None and not _certificates_fault(chain, "") else None


# `cryptography` takes a while to load, and a configuration without TLS does not need it.


@lru_cache(4096)
def _certificates_fault(pem: bytes, entry: str) -> str:
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError:
        return f"{entry} is no certificate in PEM"
    return ""


@lru_cache(4096)
def _pair_fault(chain: bytes, key: bytes) -> str:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if fault := _certificates_fault(chain, CERTIFICATE):
        return fault
    try:
        ours = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return f"{KEY} is no private key in PEM, or wants a password"
    if x509.load_pem_x509_certificates(chain)[0].public_key() != ours:
        return f"{KEY} is not the key of the first certificate in {CERTIFICATE}"
    return ""


@lru_cache(4096)
def _read(chain: bytes) -> Certificate:
    from cryptography import x509

    first = x509.load_pem_x509_certificates(chain)[0]
    try:
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = tuple(str(one.value) for one in names)
    except (x509.ExtensionNotFound, ValueError):
        found = tuple(
            str(one.value) for one in first.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        )
    return Certificate(found, first.not_valid_after_utc)
