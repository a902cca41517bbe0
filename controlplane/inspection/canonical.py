"""Resources as JSON in the form that Envoy's admin interface writes, so that two can be compared.

Whatever comes in, bytes or JSON, goes through the message itself: what comes out has no defaults,
one spelling of each duration and number, and the names of the .proto files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from controlplane.errors import InspectionError
from controlplane.inspection.schema import Schema, UnknownTypeError

Json = dict[str, Any]


@lru_cache(1)
def schema() -> Schema:
    """The one of this process."""
    return Schema()


def from_bytes(type_url: str, body: bytes) -> Json:
    """A serialised resource. Raises `InspectionError` where it cannot be read."""
    try:
        message = GetMessageClass(schema().message(type_url)).FromString(body)
        for packed in _packed(message):
            schema().message(packed)
        return _written(message)
    except UnknownTypeError as error:
        raise _unknown(error) from None
    except (DecodeError, TypeError, ValueError) as error:
        raise InspectionError(f"not a {_short(type_url)}: {error}") from error


def from_json(type_url: str, document: Mapping[str, Any]) -> Json:
    """The JSON of a resource, with or without its `@type`. Raises `InspectionError`."""
    try:
        return _written(_parsed(type_url, document))
    except json_format.ParseError as error:
        raise InspectionError(
            f"this {_short(type_url)} has something that the definitions of Envoy's API which "
            f"are installed do not know ({error}); install a later envoy_data_plane"
        ) from error


def to_bytes(type_url: str, document: Mapping[str, Any]) -> bytes:
    """The resource that somebody wrote as JSON, serialised. Raises `InspectionError`."""
    try:
        return _parsed(type_url, document).SerializeToString(deterministic=True)
    except json_format.ParseError as error:
        raise InspectionError(f"not a {_short(type_url)}: {error}") from error


def _parsed(type_url: str, document: Mapping[str, Any]) -> Message:
    try:
        message = GetMessageClass(schema().message(type_url))()
        for packed in _named(document):
            schema().message(packed)
    except UnknownTypeError as error:
        raise _unknown(error) from None
    plain = {key: value for key, value in document.items() if key != "@type"}
    json_format.ParseDict(plain, message, descriptor_pool=schema().pool)
    return message


def _written(message: Message) -> Json:
    made = json_format.MessageToDict(
        message, preserving_proto_field_name=True, descriptor_pool=schema().pool
    )
    return {key: _plain(value) for key, value in made.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """What was packed comes as ordered mappings, which differ when their order does."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]


def _unknown(error: UnknownTypeError) -> InspectionError:
    return InspectionError(
        f"{error} is not in the definitions of Envoy's API that are installed; "
        "install a later envoy_data_plane"
    )


def _packed(message: Message) -> Iterator[str]:
    """Types that are packed somewhere in a message, outer ones first.

    A type must be known before what is in it can be looked at, so who iterates loads each.
    """
    if message.DESCRIPTOR.full_name == AnyMessage.DESCRIPTOR.full_name:
        packed: Any = message
        if packed.type_url:
            yield packed.type_url
            inner = GetMessageClass(schema().message(packed.type_url)).FromString(packed.value)
            yield from _packed(inner)
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for one in value.values():
                    yield from _packed(one)
        elif field.is_repeated:
            for one in value:
                yield from _packed(one)
        else:
            yield from _packed(value)


def _named(document: object) -> Iterator[str]:
    if isinstance(document, Mapping):
        if "@type" in document:
            yield str(document["@type"])
        for value in document.values():
            yield from _named(value)
    elif isinstance(document, list):
        for value in document:
            yield from _named(value)
