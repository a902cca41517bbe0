"""What the webhook is served with, and whom API servers believe. Pure but for keys and the time.

Each certificate has a CA of its own, whose key is thrown away when it has signed: nobody who reads
the Secret can make another certificate that an API server believes. So a turn of the certificate is
a turn of the CA, and happens in two steps: the new CA is believed first, beside the old one, and
what it signed is shown once every API server has had the time to hear of it. The Secret holds both
certificates; which one to show follows from it and from the clock, the same on every replica.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = datetime.timedelta(days=90)
EARLY = datetime.timedelta(hours=1)
"""Valid from before it was made: clocks differ."""
SETTLED = datetime.timedelta(minutes=10)
"""A new certificate is shown this long after it was made: each replica has put its CA into the
configuration meanwhile, and each API server has seen it there."""
_NEWEST = ("tls.crt", "tls.key", "ca.crt")
_FORMER = ("former.crt", "former.key", "former-ca.crt")
_UNREADABLE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate, its key, and the CA that signed it: PEM, and what is read in it."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes
    names: frozenset[str]
    made: datetime.datetime
    ends: datetime.datetime

    def good(self, names: Collection[str], now: datetime.datetime) -> bool:
        """Whether it may be shown under these names; not yet where it was made by a clock that was
        ahead."""
        return self.names >= set(names) and self.made - EARLY <= now < self.ends

    @property
    def renew(self) -> datetime.datetime:
        """When its successor is made: a third of its life before its end."""
        return self.ends - (self.ends - self.made) / 3


@dataclass(frozen=True, slots=True)
class Kept:
    """What the Secret holds."""

    newest: Pair | None = None
    former: Pair | None = None
    """Its predecessor, while it takes its place."""

    @classmethod
    def of(cls, data: Mapping[str, str]) -> Kept:
        """The `data` of the Secret; what cannot be read is as if it were not there."""
        return cls(_pair(data, _NEWEST), _pair(data, _FORMER))

    def data(self) -> dict[str, str]:
        """As the Secret has it."""
        made = dict[str, str]()
        for pair, entries in ((self.newest, _NEWEST), (self.former, _FORMER)):
            if pair is not None:
                content = (pair.certificate, pair.key, pair.ca)
                made |= {
                    name: base64.b64encode(one).decode()
                    for name, one in zip(entries, content, strict=True)
                }
        return made

    @property
    def bundle(self) -> bytes:
        """The CAs to believe, PEM."""
        return b"".join(one.ca for one in (self.newest, self.former) if one is not None)

    def turned(
        self, names: Collection[str], now: datetime.datetime, shown: Pair | None = None
    ) -> Kept:
        """What it is to hold from now on; itself where nothing is due. What is still good goes on
        until its successor is believed, also where it is not kept any more but `shown`."""
        newest = self.newest
        if newest is None or not newest.good(names, now) or now >= newest.renew:
            before = (newest, self.former, shown)
            good = (one for one in before if one is not None and one.good(names, now))
            return Kept(issue(names, now), next(good, None))
        over = newest.made + 2 * SETTLED
        return Kept(newest) if self.former is not None and now >= over else self

    def shown(self, names: Collection[str], now: datetime.datetime) -> Pair | None:
        """The one to show now."""
        newest, former = self.newest, self.former
        if newest is None or former is None or not former.good(names, now):
            return newest
        return newest if now >= newest.made + SETTLED else former


def issue(names: Collection[str], now: datetime.datetime) -> Pair:
    """A certificate of a CA that signs nothing else."""
    now = now.replace(microsecond=0)  # as certificates have it
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    ca_name = _named(f"weir webhook CA {serial:x}"[:64])
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), now)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        _builder(_named("weir webhook"), ca_name, key.public_key(), now)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general(one) for one in sorted(names)]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(
        leaf.public_bytes(Encoding.PEM),
        pem,
        ca.public_bytes(Encoding.PEM),
        frozenset(names),
        now,
        now + LIFE,
    )


def read(certificate: bytes, key: bytes, ca: bytes) -> Pair | None:
    """None where they cannot be read, or do not belong together."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        authority = x509.load_pem_x509_certificate(ca)
        leaf.verify_directly_issued_by(authority)
        if load_pem_private_key(key, password=None).public_key() != leaf.public_key():
            return None
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = {str(one.value) for one in found}
    except _UNREADABLE:
        return None
    ends = min(leaf.not_valid_after_utc, authority.not_valid_after_utc)
    made = leaf.not_valid_before_utc + EARLY
    return Pair(certificate, key, ca, frozenset(names), made, ends)


def _pair(data: Mapping[str, str], entries: tuple[str, ...]) -> Pair | None:
    try:
        return read(*(base64.b64decode(data[name], validate=True) for name in entries))
    except (KeyError, binascii.Error):
        return None


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .not_valid_before(now - EARLY)
        .not_valid_after(now + LIFE)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """A CA signs certificates and nothing else, a server its handshakes and nothing else."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
