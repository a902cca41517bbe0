"""Addresses of servers that Envoy itself asks: for keys, for tokens."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

from controlplane.resources.kinds import DNS_LABEL

_PORTS = {"http": 80, "https": 443}
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
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


def of_a_machine(text: str) -> bool:
    """Whether a host is a name, or an address that a server may have. Addresses of the link alone
    are where clouds hand out the credentials of a machine.

    >>> of_a_machine("10.0.0.1"), of_a_machine("169.254.169.254"), of_a_machine("a.example")
    (True, False, True)
    >>> of_a_machine("2852039166")  # the second of these, as C libraries read it
    False
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _NUMBER.fullmatch(text.rpartition(".")[2].lower()) is None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)


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
    if not of_a_machine(host):
        raise ValueError("want the address of a server: this one is of the link, or of nobody")
    if parts.port == 0:
        raise ValueError("a port is between 1 and 65535")
    return text


Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048), AfterValidator(_uri)]
"""With `http` or `https`. Raises `ValueError` for a port that is none, as `urlsplit` says it."""
