"""Certificates for tests, made when they run and never kept."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

SERVER = "weir.test"


@dataclass(frozen=True)
class Issued:
    certificate: bytes
    key: bytes


def pem_key(key: Any) -> bytes:  # noqa: ANN401 (any kind of private key)
    raw: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return raw


def pem_public(key: Any) -> bytes:  # noqa: ANN401 (any kind of private key)
    raw: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return raw


class Authority:
    """A CA of its own."""

    def __init__(self, name: str = "ca", starts_h: float = -1.0, ends_h: float = 1.0) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        made = _builder(self._name, self._name, self._key, starts_h, ends_h)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = made.sign(self._key, hashes.SHA256())
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        ips: Sequence[str] = (),
        starts_h: float = -1.0,
        ends_h: float = 1.0,
        key: Any = None,  # noqa: ANN401 (any kind of private key)
    ) -> Issued:
        """A certificate with these names, valid from and until so many hours from now."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        made = _builder(_named("leaf"), self._name, key, starts_h, ends_h)
        names: list[x509.GeneralName] = [x509.DNSName(one) for one in dns]
        names += [x509.UniformResourceIdentifier(one) for one in uris]
        names += [x509.IPAddress(ipaddress.ip_address(one)) for one in ips]
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = made.sign(self._key, hashes.SHA256())
        return Issued(certificate.public_bytes(serialization.Encoding.PEM), pem_key(key))

    def staple(self, one: Issued) -> bytes:
        """An OCSP response, valid for an hour, that says that the certificate is good."""
        now = datetime.datetime.now(datetime.UTC)
        answer = ocsp.OCSPResponseBuilder().add_response(
            x509.load_pem_x509_certificate(one.certificate),
            self._certificate,
            hashes.SHA256(),
            ocsp.OCSPCertStatus.GOOD,
            now - datetime.timedelta(hours=1),
            now + datetime.timedelta(hours=1),
            None,
            None,
        )
        answer = answer.responder_id(ocsp.OCSPResponderEncoding.NAME, self._certificate)
        made = answer.sign(self._key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.DER)

    def server(self) -> Issued:
        """For the server of a test."""
        return self.issue(dns=[SERVER])


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Any,  # noqa: ANN401 (any kind of private key)
    starts_h: float,
    ends_h: float,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(hours=starts_h))
        .not_valid_after(now + datetime.timedelta(hours=ends_h))
    )


def put(path: Path, content: bytes) -> Path:
    """Replace a file by renaming a new one into its place."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    os.replace(new, path)
    return path


@dataclass(frozen=True)
class Files:
    """Certificate, key and CA in a folder."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def put(self, issued: Issued, ca: bytes) -> Files:
        """Replace all three, one after the other."""
        self.folder.mkdir(parents=True, exist_ok=True)
        put(self.certificate, issued.certificate)
        put(self.key, issued.key)
        put(self.ca, ca)
        return self


class MountedSecret:
    """A folder as Kubernetes mounts a Secret: links through `..data`, which is swapped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version = 0
        self.files = Files(folder)

    def put(self, issued: Issued, ca: bytes) -> MountedSecret:
        """Replace all three at once."""
        self._version += 1
        data = self._folder / f"..version-{self._version}"
        Files(data).put(issued, ca)
        new = self._folder / "..data_tmp"
        new.symlink_to(data.name)
        os.replace(new, self._folder / "..data")
        for name in ("tls.crt", "tls.key", "ca.crt"):
            link = self._folder / name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / name)
        return self
