"""A small OpenID provider on loopback: who goes there is logged in as `ann` at once.

It holds Envoy to the code flow: the client's secret, the address to come back to, and PKCE (S256).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.envoy.identities import Issuer
from tests.envoy.origin import running


@dataclass
class Provider:
    """Codes that were given out, each with what was asked for."""

    secret: str
    client: str = "shop"
    name: str = "provider"
    port: int = 0
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    issuer: Issuer = field(default_factory=lambda: Issuer("https://login.test"))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
                body = (await reader.readexactly(int(length or 0))).decode()
                target = urlsplit(head.split()[1])
                if target.path == "/authorize":
                    answer = self._authorize(_fields(target.query))
                else:
                    answer = self._token(_fields(body))
                writer.write(answer.encode())
                await writer.drain()
        writer.close()

    def _authorize(self, asked: dict[str, str]) -> str:
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        back = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        return f"HTTP/1.1 302 Found\r\nlocation: {back}\r\ncontent-length: 0\r\n\r\n"

    def _token(self, asked: dict[str, str]) -> str:
        fault = self._fault(asked)
        if fault:
            self.refused.append(fault)
            return f"HTTP/1.1 400 Bad\r\ncontent-length: {len(fault)}\r\n\r\n{fault}"
        token = self.issuer.token(sub="ann")
        body = json.dumps({"access_token": token, "id_token": token, "expires_in": 3600})
        kind = "content-type: application/json"
        return f"HTTP/1.1 200 OK\r\n{kind}\r\ncontent-length: {len(body)}\r\n\r\n{body}"

    def _fault(self, asked: dict[str, str]) -> str:
        given = self.codes.pop(asked.get("code", ""), None)
        if given is None:
            return "no such code"
        if (asked["client_id"], asked["client_secret"]) != (self.client, self.secret):
            return "another client"
        if asked["redirect_uri"] != given["redirect_uri"]:
            return "another address"
        digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return "" if given["code_challenge"] == challenge else "another browser"


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


@asynccontextmanager
async def provider(secret: str) -> AsyncIterator[Provider]:
    """Run one."""
    async with running(Provider(secret)) as found:
        yield found["provider"]
