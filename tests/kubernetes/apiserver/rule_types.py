"""What a schema says to CEL: its objects as message types, so that a rule that names a field which
is not there, or compares what cannot be compared, is refused with the definition.

https://kubernetes.io/docs/reference/using-api/cel/#openapi-v3-schema-to-cel-type-mapping
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias

from cel_expr_python import cel
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)

from tests.kubernetes.apiserver.schema import EMBEDDED, INT_OR_STRING

Schema: TypeAlias = Mapping[str, Any]
Field = descriptor_pb2.FieldDescriptorProto

_PACKAGE = "rules"
_DYN, _DURATION, _TIMESTAMP = (
    f".google.protobuf.{name}" for name in ("Value", "Duration", "Timestamp")
)
_WELL_KNOWN = (any_pb2, duration_pb2, timestamp_pb2, struct_pb2, wrappers_pb2)
_STRINGS: Mapping[str, tuple[int, str]] = {
    "byte": (Field.TYPE_BYTES, ""),
    "date": (Field.TYPE_MESSAGE, _TIMESTAMP),
    "date-time": (Field.TYPE_MESSAGE, _TIMESTAMP),
    "duration": (Field.TYPE_MESSAGE, _DURATION),
}
_SCALARS: Mapping[str, tuple[int, str]] = {
    "string": (Field.TYPE_STRING, ""),
    "integer": (Field.TYPE_INT64, ""),
    "number": (Field.TYPE_DOUBLE, ""),
    "boolean": (Field.TYPE_BOOL, ""),
}
_META: Schema = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
}
_TYPED: Schema = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": _META,
}
"""All of an object's head that rules may look at."""

_RESERVED = frozenset(
    "true false null in as break const continue else for function if import let loop package "  # noqa: SIM905
    "namespace return var void while".split()
)


def identifier(name: str) -> str:
    """https://kubernetes.io/docs/reference/using-api/cel/#escaping"""
    if name in _RESERVED:
        return f"__{name}__"
    name = name.replace("__", "__underscores__")
    for plain, word in ((".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(plain, word)
    return name


@cache
def _well_known() -> tuple[descriptor_pb2.FileDescriptorProto, ...]:
    made = []
    for module in _WELL_KNOWN:
        one = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(one)
        made.append(one)
    return tuple(made)


class Types:
    """The message types of one definition, made as they are met."""

    def __init__(self, root: Schema) -> None:
        self._file = descriptor_pb2.FileDescriptorProto(
            name="rules.proto",
            package=_PACKAGE,
            syntax="proto2",
            dependency=[one.name for one in _well_known()],
        )
        self._names: dict[int, str] = {}
        self._kept: list[Schema] = []  # so that no id is given twice
        properties = {**(root.get("properties") or {}), **_TYPED}
        self._message(root, properties)
        self.pool = descriptor_pool.DescriptorPool()
        for one in (*_well_known(), self._file):
            self.pool.Add(one)

    def of(self, schema: Schema) -> cel.Type:
        """The type of `self` in a rule of this schema."""
        if schema.get("type") == "array":
            return cel.Type.List(self._plain(schema.get("items") or {}))
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping) and not schema.get("properties"):
            return cel.Type.Map(cel.Type.STRING, self._plain(more))
        return self._plain(schema)

    def _plain(self, schema: Schema) -> cel.Type:
        if id(schema) in self._names:
            return cel.Type(self._names[id(schema)].lstrip("."))
        t = cel.Type
        scalars = {"integer": t.INT, "number": t.DOUBLE, "boolean": t.BOOL}
        if schema.get(INT_OR_STRING):
            return t.DYN
        if schema.get("type") == "string":
            forms = {"byte": t.BYTES, "duration": t.DURATION}
            forms |= dict.fromkeys(("date", "date-time"), t.TIMESTAMP)
            return forms.get(schema.get("format", ""), t.STRING)
        return scalars.get(schema.get("type", ""), t.DYN)

    def _message(self, schema: Schema, properties: Mapping[str, Schema]) -> str:
        number = len(self._names)
        name = f".{_PACKAGE}.M{number}"
        self._names[id(schema)] = name
        self._kept.append(schema)
        message = self._file.message_type.add(name=f"M{number}")
        for at, (key, inner) in enumerate(properties.items(), start=1):
            field = message.field.add(name=identifier(key), number=at, label=Field.LABEL_OPTIONAL)
            self._fill(field, inner, message)
        return name

    def _fill(self, field: Field, schema: Schema, home: descriptor_pb2.DescriptorProto) -> None:
        more = schema.get("additionalProperties")
        if schema.get("type") == "array":
            items = schema.get("items") or {}
            field.label = Field.LABEL_REPEATED
            self._set(field, items)
        elif isinstance(more, Mapping) and not schema.get("properties"):
            # A map is a repeated message of keys and values that is marked as one.
            words = field.name.split("_")
            camel = "".join(word[:1].upper() + word[1:] for word in words)
            entry = home.nested_type.add(name=f"{camel}Entry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=1, type=Field.TYPE_STRING)
            value = entry.field.add(name="value", number=2, label=1)
            self._set(value, more)
            field.label = Field.LABEL_REPEATED
            field.type = Field.TYPE_MESSAGE
            field.type_name = f".{_PACKAGE}.{home.name}.{entry.name}"
        else:
            self._set(field, schema)

    def _set(self, field: Field, schema: Schema) -> None:
        field.type, name = self._value(schema)
        if name:
            field.type_name = name

    def _value(self, schema: Schema) -> tuple[Any, str]:
        """Of a value that is one: lists of lists and maps of maps have no type of their own."""
        kind = schema.get("type", "")
        if schema.get(INT_OR_STRING) or kind in ("", "array"):
            return Field.TYPE_MESSAGE, _DYN
        if kind == "object":
            if schema.get("additionalProperties") and not schema.get("properties"):
                return Field.TYPE_MESSAGE, _DYN
            head = _TYPED if schema.get(EMBEDDED) else {}
            known = {**(schema.get("properties") or {}), **head}
            return Field.TYPE_MESSAGE, self._names.get(id(schema)) or self._message(schema, known)
        if kind == "string" and schema.get("format") in _STRINGS:
            return _STRINGS[schema["format"]]
        return _SCALARS[kind]
