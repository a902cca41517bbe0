"""The DNS of a cluster: names of Services, and nothing else.

https://github.com/kubernetes/dns/blob/master/docs/specification.md
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import cast

DOMAIN = "cluster.local"
TTL_S = 5
_A, _INTERNET, _NO_NAME = 1, 1, 3
Names = Mapping[str, Sequence[str]]
"""Addresses (IPv4) by full name, without a dot at the end."""


class NameServer(asyncio.DatagramProtocol):
    """Answers by UDP."""

    def __init__(self, names: Callable[[], Names]) -> None:
        self._names = names

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(answer(data, self._names()), addr)


def answer(query: bytes, names: Names) -> bytes:
    """To a question (RFC 1035, 4.1): the addresses, none of the type that is asked for, or that
    there is no such name.

    >>> head, type_ = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0), struct.pack("!2H", 1, 1)
    >>> asked = head + b"\\x03web\\x00" + type_
    >>> answer(asked, {"web": ["10.0.0.1"]})[-4:], answer(asked, {})[3] & 15
    (b'\\n\\x00\\x00\\x01', 3)
    """
    number, flags = struct.unpack_from("!2H", query)
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    kind, _ = struct.unpack_from("!2H", query, at + 1)
    known = names.get(".".join(labels))
    found = list(known or ()) if kind == _A else []
    code = 0 if known is not None else _NO_NAME
    # An answer, by who knows; recursion is wanted where it was.
    head = struct.pack("!6H", number, 0x8400 | (flags & 0x100) | code, 1, len(found), 0, 0)
    records = b"".join(
        struct.pack("!3HIH", 0xC00C, _A, _INTERNET, TTL_S, 4) + socket.inet_aton(one)
        for one in found
    )
    return head + query[12 : at + 5] + records


def resolver(server: str, namespace: str) -> str:
    """`/etc/resolv.conf` of the pods of a namespace, as the kubelet writes it."""
    search = f"{namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
    return f"search {search}\nnameserver {server}\noptions ndots:5\n"
