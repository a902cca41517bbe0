"""Who clients say they are: keys, tokens, and a server that hands the public keys out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.certificates import Issued


class Issuer:
    """Somebody who makes tokens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())

    def token(self, **claims: object) -> str:
        """A token with these claims, good for an hour; without those that are None."""
        usual = {"iss": self.name, "exp": int(time.time()) + 3600, **claims}
        made = {name: value for name, value in usual.items() if value is not None}
        return jwt.encode(made, self._key, algorithm="ES256", headers={"kid": self.name})

    def bearer(self, **claims: object) -> dict[str, str]:
        """The header of a request with such a token."""
        return {"authorization": f"Bearer {self.token(**claims)}"}

    @property
    def jwks(self) -> str:
        """The public key, as a set."""
        numbers = self._key.public_key().public_numbers()
        key = {
            **{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.name},
            **{"x": _text(numbers.x), "y": _text(numbers.y)},
        }
        return json.dumps({"keys": [key]})


def _text(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


def basic(user: str, password: str) -> dict[str, str]:
    """The header of a request with a name and a password."""
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"Basic {text}"}


def htpasswd(**users: str) -> bytes:
    """A file as `htpasswd -s` makes it."""
    hashes = {
        user: base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()
        for user, password in users.items()
    }
    return "".join(f"{user}:{{SHA}}{one}\n" for user, one in hashes.items()).encode()


@dataclass
class Page:
    """Answers every request with one body."""

    name: str
    body: str
    port: int = 0
    seen: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.seen.append(head.split()[1].decode())
                body = self.body.encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def page(body: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Page]:
    """Run one."""
    made = Page("page", body)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def serving(certificate: Issued, folder: Path) -> ssl.SSLContext:
    """TLS of a server with this certificate; its files go into the folder, which is made."""
    folder.mkdir()
    chain, key = folder / "tls.crt", folder / "tls.key"
    chain.write_bytes(certificate.certificate)
    key.write_bytes(certificate.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    return context
