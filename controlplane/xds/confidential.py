"""What no status may show: secrets, and resources that carry some within them.

The server knows little of what resources mean, so it does not pick secrets out of them: a resource
that may carry one is withheld as a whole, and its name and version remain. Private keys belong into
files or into secrets that Envoy asks for by name (SDS); then nothing else is withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from google.protobuf.message import DecodeError

from controlplane._pb.confidential_pb2 import (
    CommonTlsContext,
    DataSource,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from controlplane.xds.kinds import SECRET

_TLS = b"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_CARRIERS = (
    b"envoy.extensions.transport_sockets.tls.v3.Secret",
    b"envoy.extensions.transport_sockets.quic.",
    b"envoy.extensions.transport_sockets.starttls.",
    b"envoy.extensions.filters.http.api_key_auth.",
    b"envoy.extensions.filters.http.aws_lambda.",
    b"envoy.extensions.filters.http.aws_request_signing.",
    b"envoy.extensions.filters.http.basic_auth.",
    b"envoy.extensions.filters.network.redis_proxy.",
    b"envoy.extensions.common.aws.",
)
"""Messages that may hold passwords or keys of their own."""
_REMEMBERED = 4096


def confidential(type_url: str, body: bytes) -> bool:
    """Whether the body must not be shown.

    >>> confidential(SECRET, b""), confidential("type.googleapis.com/my.Type", b"harmless")
    (True, False)
    >>> confidential("type.googleapis.com/my.Type", b"-----BEGIN PRIVATE KEY-----")
    True
    """
    return type_url == SECRET or _carries_some(body)


def told(message: str, quotable: bool) -> str:
    """What may be shown, kept and logged of a client's refusal, which often quotes what it refuses.

    >>> told("no such filter", True)
    'no such filter'
    """
    if not quotable:
        return "withheld, as it may quote a secret; see the log of the client itself"
    return message


@lru_cache(_REMEMBERED)
def _carries_some(body: bytes) -> bool:
    if b"PRIVATE KEY-----" in body or any(one in body for one in _CARRIERS):
        return True
    return any(_carries(body, _TLS + name, keys) for name, keys in _CONTEXTS.items())


def _carries(body: bytes, type_url: bytes, keys: Callable[[bytes], Iterator[DataSource]]) -> bool:
    """Whether a TLS context somewhere in the body brings a key along.

    An `Any` is its type and then its value; one that cannot be found or read so counts as one
    that does.
    """
    at = body.find(type_url)
    while at >= 0:
        at += len(type_url)
        size, begin = _varint(body, at + 1)
        if body[at : at + 1] != b"\x12" or begin == at + 1 or begin + size > len(body):
            return True
        try:
            if any(
                one.WhichOneof("specifier") in _INLINE for one in keys(body[begin : begin + size])
            ):
                return True
        except DecodeError:
            return True
        at = body.find(type_url, at)
    return False


_INLINE = ("inline_bytes", "inline_string")


def _upstream(raw: bytes) -> Iterator[DataSource]:
    yield from _common(UpstreamTlsContext.FromString(raw).common_tls_context)


def _downstream(raw: bytes) -> Iterator[DataSource]:
    context = DownstreamTlsContext.FromString(raw)
    yield from _common(context.common_tls_context)
    yield from context.session_ticket_keys.keys


def _common(context: CommonTlsContext) -> Iterator[DataSource]:
    for one in context.tls_certificates:
        yield from (one.private_key, one.password, one.pkcs12)


_CONTEXTS = {b"UpstreamTlsContext": _upstream, b"DownstreamTlsContext": _downstream}


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while at < len(body):
        value |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not body[at - 1] & 0x80:
            break
    return value, at
