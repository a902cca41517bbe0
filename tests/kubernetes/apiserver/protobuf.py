"""Bodies in protobuf, which kubectl's and Helm's typed clients send. Pure.

https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
The field numbers are those of `generated.proto` in k8s.io/api and k8s.io/apimachinery, of the kinds
that those tools write so: others are refused with 415. Answers are JSON, which every client takes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from tests.kubernetes.apiserver.errors import Object, bad_request, unsupported_media_type

Value: TypeAlias = Any
Message: TypeAlias = Mapping[int, tuple[str, Any]]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

# How a field is read: text, whole number, bool, bytes (base64 in JSON), each also in a list or as
# the values of a map; or a message within.
TEXT, WHOLE, BOOL, BYTES = "text", "whole", "bool", "bytes"
TEXTS, MAP_OF_TEXT, MAP_OF_BYTES = "texts", "map of text", "map of bytes"

_OBJECT_META: Message = {
    1: ("name", TEXT),
    2: ("generateName", TEXT),
    3: ("namespace", TEXT),
    5: ("uid", TEXT),
    6: ("resourceVersion", TEXT),
    11: ("labels", MAP_OF_TEXT),
    12: ("annotations", MAP_OF_TEXT),
    14: ("finalizers", TEXTS),
}
_RESOURCE: Message = {
    1: ("namespace", TEXT),
    2: ("verb", TEXT),
    3: ("group", TEXT),
    4: ("version", TEXT),
    5: ("resource", TEXT),
    6: ("subresource", TEXT),
    7: ("name", TEXT),
}
MESSAGES: Mapping[str, Message] = {
    "ConfigMap": {
        1: ("metadata", _OBJECT_META),
        2: ("data", MAP_OF_TEXT),
        3: ("binaryData", MAP_OF_BYTES),
        4: ("immutable", BOOL),
    },
    "DeleteOptions": {
        1: ("gracePeriodSeconds", WHOLE),
        2: ("preconditions", {1: ("uid", TEXT), 2: ("resourceVersion", TEXT)}),
        4: ("propagationPolicy", TEXT),
        5: ("dryRun", TEXTS),
    },
    "Namespace": {1: ("metadata", _OBJECT_META)},
    "Secret": {
        1: ("metadata", _OBJECT_META),
        2: ("data", MAP_OF_BYTES),
        3: ("type", TEXT),
        4: ("stringData", MAP_OF_TEXT),
        5: ("immutable", BOOL),
    },
    "SelfSubjectAccessReview": {
        1: ("metadata", _OBJECT_META),
        2: ("spec", {1: ("resourceAttributes", _RESOURCE)}),
    },
    "ServiceAccount": {1: ("metadata", _OBJECT_META), 4: ("automountServiceAccountToken", BOOL)},
}


def decode(body: bytes, accepted: tuple[str, ...]) -> Object:
    """An object out of its envelope: apiVersion, kind and what is in it."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body has no prefix of protobuf")
    envelope = _read(
        body[len(_MAGIC) :],
        {1: ("type", {1: ("apiVersion", TEXT), 2: ("kind", TEXT)}), 2: ("raw", BYTES)},
    )
    about = envelope.get("type") or {}
    message = MESSAGES.get(about.get("kind", ""))
    if message is None:
        raise unsupported_media_type(f"{MEDIA_TYPE} of {about.get('kind')}", accepted)
    return {**about, **_read(base64.b64decode(envelope.get("raw") or ""), message)}


def _read(data: bytes, message: Message) -> Object:
    made: Object = {}
    for number, wire in _fields(data):
        if number not in message:
            continue
        name, how = message[number]
        if how == TEXTS:
            made.setdefault(name, []).append(wire.decode())
        elif how in (MAP_OF_TEXT, MAP_OF_BYTES):
            entry = {1: ("key", TEXT), 2: ("value", TEXT if how == MAP_OF_TEXT else BYTES)}
            one = _read(wire, entry)
            made.setdefault(name, {})[one.get("key", "")] = one.get("value", "")
        else:
            value = _one(wire, how)
            # Go writes what is empty too; in JSON it is left out.
            if value not in ("", {}):
                made[name] = value
    return made


def _one(wire: Value, how: Value) -> Value:
    if how == TEXT:
        return wire.decode()
    if how == BYTES:
        return base64.b64encode(wire).decode()
    if how == BOOL:
        return bool(wire)
    return wire if how == WHOLE else _read(wire, how)


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Numbers and values as they are on the wire.

    https://protobuf.dev/programming-guides/encoding/
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: Value
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
            case 2:
                size, at = _varint(data, at)
                value, at = data[at : at + size], at + size
            case 1 | 5 as kind:
                size = 8 if kind == 1 else 4
                value, at = data[at : at + size], at + size
            case kind:
                raise bad_request(f"protobuf: wire type {kind} is not known")
        if at > len(data):
            raise bad_request("protobuf: the body is cut short")
        yield tag >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise bad_request("protobuf: the body is cut short")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise bad_request("protobuf: a number is too long")
