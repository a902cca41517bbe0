"""What a server shows and whom it trusts, read from PEM and judged before it is used."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from controlplane.errors import ConfigurationError

CURVES = ("secp256r1", "secp384r1", "secp521r1")
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


@dataclass(frozen=True, slots=True)
class Material:
    """The certificate, its key and the CA of the clients, as PEM that fits together."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    expires_at_s: float
    """When the first certificate of the chain expires, in seconds since the epoch."""


def read_material(paths: Sequence[Path], content: Sequence[bytes], now_s: float) -> Material:
    """The content of certificate, key and, if there are three, client CA.

    Raises `ConfigurationError` that names the file, what is wrong with it, and what to do.
    """
    chain = _certificates(paths[0], content[0])
    key = _key(paths[1], content[1])
    if chain[0].key != key.public_key():
        raise ConfigurationError(
            f"{paths[1]}: not the key of the first certificate in {paths[0]}; "
            "replace both together, the server's own certificate before its intermediates"
        )
    now = datetime.datetime.fromtimestamp(now_s, datetime.UTC)
    for one in chain:
        _require_current(paths[0], one, now)
    client_ca = None
    if len(paths) > 2:
        client_ca = content[2]
        trusted = _certificates(paths[2], client_ca)
        if not any(one.not_after > now for one in trusted):
            _require_current(paths[2], trusted[0], now)
    expires = min(one.not_after for one in chain)
    return Material(content[0], content[1], client_ca, expires.timestamp())


def expiry_s(pem: bytes) -> float:
    """When a certificate expires, in seconds since the epoch; the beginning where it is none."""
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except _UNREADABLE:
        return 0.0


@dataclass(frozen=True, slots=True)
class _Certificate:
    """What is looked at in one. The library reads these late, and each can turn out unreadable."""

    owner: str
    key: object
    not_before: datetime.datetime
    not_after: datetime.datetime


def _certificates(path: Path, pem: bytes) -> list[_Certificate]:
    try:
        return [
            _Certificate(
                one.subject.rfc4514_string() or "no name",
                one.public_key(),
                one.not_valid_before_utc,
                one.not_valid_after_utc,
            )
            for one in x509.load_pem_x509_certificates(pem)
        ]
    except _UNREADABLE as error:
        raise ConfigurationError(
            f"{path}: holds no certificate that can be read ({error}); "
            "want PEM, with -----BEGIN CERTIFICATE-----"
        ) from error


def _key(path: Path, pem: bytes) -> RSAPrivateKey | EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except _UNREADABLE as error:
        raise ConfigurationError(
            f"{path}: holds no private key that can be read ({error}); "
            "want PEM without a password, with -----BEGIN PRIVATE KEY-----"
        ) from error
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return key
    if isinstance(key, RSAPrivateKey) and key.key_size >= 2048:
        return key
    raise ConfigurationError(
        f"{path}: a kind of key that Envoy does not take; "
        "want ECDSA with P-256, P-384 or P-521, or RSA of 2048 bits or more"
    )


def _require_current(path: Path, one: _Certificate, now: datetime.datetime) -> None:
    if one.not_after <= now:
        raise ConfigurationError(
            f"{path}: the certificate of {one.owner} expired at "
            f"{one.not_after:%Y-%m-%d %H:%M:%S} UTC; issue a new one"
        )
    if one.not_before > now:
        raise ConfigurationError(
            f"{path}: the certificate of {one.owner} is not valid before "
            f"{one.not_before:%Y-%m-%d %H:%M:%S} UTC; is the clock right?"
        )
