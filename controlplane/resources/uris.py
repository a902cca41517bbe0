"""Addresses of servers that Envoy itself asks: for keys, for tokens."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

from controlplane.resources.kinds import DNS_LABEL

_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-~]+")


class Server(NamedTuple):
    """Where an address leads."""

    scheme: str
    host: str
    port: int


def server_of(uri: str) -> Server:
    """The server of an address that was checked.

    >>> server_of("https://keys.example.com/jwks")
    Server(scheme='https', host='keys.example.com', port=443)
    """
    parts = urlsplit(uri)
    return Server(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])


def _uri(text: str) -> str:
    parts = urlsplit(text)
    host = parts.hostname or ""
    if (
        parts.scheme not in _PORTS
        or not _PLAIN.fullmatch(text)
        or not (":" in host or all(DNS_LABEL.fullmatch(one) for one in host.split(".")))
    ):
        raise ValueError("want an address such as https://example.com/path")
    if parts.username is not None or parts.fragment:
        raise ValueError("an address has no user, no password and no '#'")
    if parts.port == 0:
        raise ValueError("a port is between 1 and 65535")
    return text


Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048), AfterValidator(_uri)]
"""With `http` or `https`. Raises `ValueError` for a port that is none, as `urlsplit` says it."""
