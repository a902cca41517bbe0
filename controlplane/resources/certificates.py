"""Certificates and keys of Secrets, looked at before Envoy is sent them.

Envoy refuses a secret that it cannot read, and a listener that waits for it does not open; so a
pair that does not fit is reported where it was declared.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import lru_cache

from controlplane.resources.secret import CA, CERTIFICATE, KEY, TLS, ConfigMap, Secret

OCSP = "tls.ocsp-staple"
"""An OCSP response in DER, to be sent to clients with the certificate."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What people want to know of a certificate."""

    names: tuple[str, ...]
    """Its DNS names and addresses, or its subject's common name."""
    not_after: datetime.datetime
    """When it ends, or one of those that come with it, whichever is first."""


def pair_fault(secret: Secret) -> str:
    """Why a Secret is no certificate with its key; empty where it is one."""
    chain, key = secret.value(CERTIFICATE), secret.value(KEY)
    if chain is None or key is None:
        lacking = CERTIFICATE if chain is None else KEY
        return f"it has no {lacking}"
    staple = secret.value(OCSP)
    return _pair_fault(chain, key) or (_staple_fault(chain, staple) if staple is not None else "")


def ca_fault(holder: Secret | ConfigMap) -> str:
    """Why it has no certificates of a CA; empty where it has."""
    found = holder.value(CA)
    return _certificates_fault(found, CA) if found is not None else f"it has no {CA}"


def fault_of(holder: Secret | ConfigMap) -> str:
    """What is wrong with an object that says to hold a certificate, or CAs; empty where nothing is.

    Some leave `ca.crt` empty where a certificate is of a public CA.
    """
    if isinstance(holder, Secret) and holder.type == TLS and (fault := pair_fault(holder)):
        return fault
    return ca_fault(holder) if holder.value(CA) else ""


def certificate_of(secret: Secret) -> Certificate | None:
    """The first certificate of the chain; None where it cannot be read."""
    return _of(secret.value(CERTIFICATE))


def ca_of(holder: Secret | ConfigMap) -> Certificate | None:
    """The first certificate of the CAs; None where it cannot be read."""
    return _of(holder.value(CA))


def _of(pem: bytes | None) -> Certificate | None:
    return _read(pem) if pem and not _certificates_fault(pem, "") else None


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
    return _strength_fault(ours)


def _strength_fault(key: object) -> str:
    """Why Envoy would not take a key: it stops at what is weak or unusual."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        return f"{KEY} is an RSA key of {key.key_size} bits; Envoy takes 2048 and more"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        return f"{KEY} is of curve {key.curve.name}; Envoy takes P-256, P-384 and P-521"
    return ""


_CURVES = ("secp256r1", "secp384r1", "secp521r1")


@lru_cache(4096)
def _staple_fault(chain: bytes, staple: bytes) -> str:
    """Why an OCSP response is not one for this certificate."""
    from cryptography import x509
    from cryptography.x509 import ocsp

    try:
        response = ocsp.load_der_ocsp_response(staple)
        serial = response.serial_number  # of an answer that is none: ValueError
    except ValueError:
        return f"{OCSP} is no successful OCSP response in DER"
    if serial != x509.load_pem_x509_certificates(chain)[0].serial_number:
        return f"{OCSP} is for another certificate"
    return ""


@lru_cache(4096)
def _read(chain: bytes) -> Certificate:
    from cryptography import x509

    found = x509.load_pem_x509_certificates(chain)
    first = found[0]
    try:
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        called = tuple(str(one.value) for one in names)
    except (x509.ExtensionNotFound, ValueError):
        called = tuple(
            str(one.value) for one in first.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        )
    return Certificate(called, min(one.not_valid_after_utc for one in found))
