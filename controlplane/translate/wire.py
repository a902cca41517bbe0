"""Envoy's messages, written straight to the wire, named and numbered by `envoy_data_plane`.

`envoy_data_plane` knows every message and field of Envoy's API. Making its objects is slow, though:
checking schemas are built when a class is first used (a second of start-up for a listener and a
cluster), and a cluster takes milliseconds, however little is set in it. So the classes say here
what there is (an unknown field or a value of another type is a `TypeError`), and the bytes are put
together directly. Tests read them back with the classes.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Mapping, Sequence
from typing import Any as Untyped

from betterproto2 import Message
from envoy_data_plane.google.protobuf import Any, Duration, UInt32Value
from envoy_data_plane.message_pool import default_message_pool

Value = (
    str
    | bytes
    | int
    | float
    | Sequence[bytes]
    | Sequence[str]
    | Sequence[int]
    | Mapping[str, bytes]
)

_VARINT, _FIXED64, _BYTES = 0, 1, 2
_VARINTS = frozenset({"enum", "bool", "int32", "int64", "uint32", "uint64"})


def wire(kind: type[Message], /, **fields: Value) -> bytes:
    """The message of this kind with these fields; messages within it are bytes already.

    >>> from envoy_data_plane.envoy.config.route.v3 import RouteAction
    >>> wire(RouteAction, cluster="a") == bytes(RouteAction(cluster="a"))
    True
    >>> wire(RouteAction, clutser="a")
    Traceback (most recent call last):
    TypeError: RouteAction has no field 'clutser'
    """
    return b"".join(_field(kind, name, value) for name, value in fields.items())


def packed(kind: type[Message], message: bytes = b"") -> bytes:
    """An `Any` that holds a message of this kind."""
    return wire(Any, type_url=default_message_pool.type_to_url[kind], value=message)


def duration(seconds: float) -> bytes:
    """A span of time."""
    whole, rest = divmod(round(seconds * 1_000_000_000), 1_000_000_000)
    return _tagged(_number(Duration, "seconds"), whole) + _tagged(_number(Duration, "nanos"), rest)


def number(value: int) -> bytes:
    """A whole number that may be absent."""
    return _tagged(_number(UInt32Value, "value"), value)


TRUE = b"\x08\x01"
"""A truth value that may be absent, and is there and true."""
FALSE = b""
"""The same, there and false."""


def prefixed(field: int, value: bytes) -> bytes:
    """A field of bytes. Messages put one after another are merged by whoever reads them.

    >>> prefixed(1, b"abc")
    b'\\n\\x03abc'
    """
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _field(kind: type[Message], name: str, value: Value) -> bytes:
    meta = _fields(kind).get(name)
    if meta is None:
        raise TypeError(f"{kind.__name__} has no field {name!r}")
    if meta.proto_type == "map" and isinstance(value, Mapping):
        return b"".join(
            prefixed(meta.number, prefixed(1, key.encode()) + prefixed(2, one))
            for key, one in value.items()
        )
    if meta.repeated and not isinstance(value, (str, bytes, Mapping, int, float)):
        return b"".join(_single(kind, name, meta, one) for one in value)
    return _single(kind, name, meta, value)


def _single(kind: type[Message], name: str, meta: Untyped, value: object) -> bytes:  # noqa: ANN401
    if meta.proto_type == "string" and isinstance(value, str):
        return prefixed(meta.number, value.encode())
    if meta.proto_type in ("message", "bytes") and isinstance(value, bytes):
        return prefixed(meta.number, value)
    if meta.proto_type in _VARINTS and isinstance(value, int):
        return _tagged(meta.number, value)
    if meta.proto_type == "double" and isinstance(value, float):
        return _varint(meta.number << 3 | _FIXED64) + struct.pack("<d", value)
    raise TypeError(f"{kind.__name__}.{name} is a {meta.proto_type}, not {type(value).__name__}")


@functools.cache  # bounded by the classes that this package names
def _fields(kind: Untyped) -> Mapping[str, Untyped]:  # noqa: ANN401
    return {one.name: one.metadata["betterproto"] for one in dataclasses.fields(kind)}


def _number(kind: type[Message], name: str) -> int:
    return int(_fields(kind)[name].number)


def _tagged(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
