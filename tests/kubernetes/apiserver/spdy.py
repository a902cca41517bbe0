"""Frames of SPDY 3.1, as far as forwarding of ports uses them. Pure.

https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SYN_STREAM, SYN_REPLY, RST_STREAM, PING = 1, 2, 3, 6
FIN = 1
_CONTROL = 0x8003
_HEAD = 8

# The dictionary of the draft, section 2.6.10: words with their lengths before them, then text.
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_MORE = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, "
    "Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.encode() for word in (*_WORDS.split(), *_MORE))
    + _TEXT.encode()
)


@dataclass(frozen=True)
class Frame:
    """One frame of a client that says something to us."""

    kind: int
    """Of a control frame; 0: data."""
    stream: int
    data: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


class Reader:
    """Bytes in, frames out."""

    def __init__(self) -> None:
        self._pending = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._pending += data
        while len(self._pending) >= _HEAD:
            first, kind, size = struct.unpack(">HHI", self._pending[:_HEAD])
            flags, size = size >> 24, size & 0xFFFFFF
            if len(self._pending) < _HEAD + size:
                return
            body = self._pending[_HEAD : _HEAD + size]
            self._pending = self._pending[_HEAD + size :]
            if not first & 0x8000:
                yield Frame(0, (first << 16) | kind, body, fin=bool(flags & FIN))
            elif kind == SYN_STREAM:
                headers = _headers(self._inflate.decompress(body[10:]))
                yield Frame(kind, _number(body), headers=headers, fin=bool(flags & FIN))
            elif kind in (RST_STREAM, PING):
                yield Frame(kind, _number(body), body)


class Writer:
    """What we say."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def reply(self, stream: int) -> bytes:
        block = self._deflate.compress(struct.pack(">I", 0))
        block += self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(SYN_REPLY, struct.pack(">I", stream) + block)

    def data(self, stream: int, data: bytes, *, fin: bool = False) -> bytes:
        return struct.pack(">II", stream, (FIN if fin else 0) << 24 | len(data)) + data

    def ping(self, body: bytes) -> bytes:
        return _control(PING, body)


def _control(kind: int, body: bytes) -> bytes:
    return struct.pack(">HHI", _CONTROL, kind, len(body)) + body


def _number(body: bytes) -> int:
    return int(struct.unpack(">I", body[:4])[0]) & 0x7FFFFFFF


def _headers(block: bytes) -> dict[str, str]:
    (count,) = struct.unpack(">I", block[:4])
    at, words = 4, list[str]()
    for _ in range(2 * count):
        (size,) = struct.unpack(">I", block[at : at + 4])
        words.append(block[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return dict(zip(words[::2], words[1::2], strict=True))
