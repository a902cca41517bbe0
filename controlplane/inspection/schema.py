"""Envoy's messages as descriptors of google.protobuf, made from the definitions in
`envoy_data_plane` when they are first asked for.

The JSON of protobuf (durations, wrappers, `Any`, enums by name, defaults left out) is the form that
Envoy's admin interface writes, and google.protobuf has the one complete implementation of it. It
needs descriptors, and `envoy_data_plane` has classes that know the same: name, number and type of
every field. The descriptors are built from those, only for the messages that are reached.

Only a message that is packed into an `Any` keeps its full name; nested ones get that of their
class. No name of a nested message appears in JSON.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf import (
    any_pb2,
    duration_pb2,
    empty_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool

PREFIX = "type.googleapis.com/"

Class = Any
"""A message or an enum of `envoy_data_plane`."""

_WELL_KNOWN = {
    name: module.DESCRIPTOR
    for module in (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
    for name in module.DESCRIPTOR.message_types_by_name
}
_SCALARS = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in (
        *("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string"),
        *("bytes", "uint32", "sfixed32", "sfixed64", "sint32", "sint64"),
    )
}


class UnknownTypeError(LookupError):
    """No message of this name is in the definitions that are installed."""


class Schema:
    """Descriptors by type URL; built once, kept for the life of the object."""

    def __init__(self) -> None:
        self.pool = DescriptorPool()
        self._files: dict[Class, str] = {}
        """Class -> the file that holds it."""
        for file in dict.fromkeys(_WELL_KNOWN.values()):
            self.pool.AddSerializedFile(file.serialized_pb)

    def message(self, type_url: str) -> Descriptor:
        """The message of a type URL. Raises `UnknownTypeError`."""
        full_name = type_url.rpartition("/")[2]
        if _well_known(full_name) is None:
            root = _class_of(full_name)
            if root not in self._files:
                for group in _groups(root, self._files):
                    self._add(group)
        try:
            return self.pool.FindMessageTypeByName(full_name)
        except KeyError:
            raise UnknownTypeError(full_name) from None

    def _add(self, group: Sequence[Class]) -> None:
        """Classes that refer to one another, in a file of their own."""
        package = _package(group[0])
        file = FileDescriptorProto(
            name=f"{package}/{group[0].__name__}", package=package, syntax="proto3"
        )
        for one in group:
            self._files[one] = file.name
        needed: set[str] = set()
        for one in group:
            if _is_enum(one):
                file.message_type.add(name=_own_name(one)).enum_type.append(_enum(one))
                continue
            message = file.message_type.add(name=_own_name(one))
            for used in _fields(one, message):
                needed.add(self._file_of(used))
        file.dependency.extend(sorted(needed - {file.name}))
        self.pool.AddSerializedFile(file.SerializeToString())

    def _file_of(self, one: Class) -> str:
        known = _well_known(_full_name(one))
        return known.name if known is not None else self._files[one]


def _class_of(full_name: str) -> Class:
    from envoy_data_plane.message_pool import default_message_pool

    package = ".".join(part for part in full_name.split(".")[:-1])
    try:
        importlib.import_module(f"envoy_data_plane.{package}")
    except ImportError:
        raise UnknownTypeError(full_name) from None
    found = default_message_pool.url_to_type.get(PREFIX + full_name)
    if found is None:
        raise UnknownTypeError(full_name)
    return found


def _well_known(full_name: str) -> Any:  # noqa: ANN401 (a file descriptor, which has no types here)
    package, _, name = full_name.rpartition(".")
    return _WELL_KNOWN.get(name) if package == "google.protobuf" else None


def _is_enum(one: Class) -> bool:
    return not hasattr(one, "_betterproto")


def _package(one: Class) -> str:
    return str(one.__module__).removeprefix("envoy_data_plane.")


def _full_name(one: Class) -> str:
    """Its own where it can be packed into an `Any`, else one that nobody sees."""
    return f"{_package(one)}.{_own_name(one)}"


def _own_name(one: Class) -> str:
    from envoy_data_plane.message_pool import default_message_pool

    if _is_enum(one):
        return f"Enum_{one.__name__}"
    url = default_message_pool.type_to_url.get(one, "")
    own = url.removeprefix(f"{PREFIX}{_package(one)}.")
    return own if own and "." not in own else f"Nested_{one.__name__}"


def _enum(one: Class) -> EnumDescriptorProto:
    made = EnumDescriptorProto(name="Value")
    names: dict[str, int] = {}
    for value in sorted(one, key=lambda value: (value.value != 0, value.value)):
        names.setdefault(value.proto_name or value.name, value.value)
    for name, number in names.items():
        made.value.add(name=name, number=number)
    return made


def _fields(one: Class, message: DescriptorProto) -> Iterator[Class]:
    """Write the fields of a class into its descriptor; the classes that they hold come out."""
    meta = one._betterproto
    groups: dict[str, int] = {}
    by_number = {facts.number: facts for facts in meta.meta_by_field_name.values()}
    for name, facts in meta.meta_by_field_name.items():
        field = message.field.add(name=name.rstrip("_"), number=facts.number)
        field.label = field.LABEL_REPEATED if _repeats(facts) else field.LABEL_OPTIONAL
        if facts.map_meta is not None:
            yield from _map(
                field, facts, meta.cls_by_field[f"{name}.value"], message, _full_name(one)
            )
            continue
        yield from _typed(field, facts, meta.cls_by_field[name])
        if facts.group:
            if facts.group not in groups:
                groups[facts.group] = len(message.oneof_decl)
                message.oneof_decl.add(name=facts.group)
            field.oneof_index = groups[facts.group]
    for field in message.field:  # presence of a scalar; such a oneof stands after the others
        facts = by_number[field.number]
        alone = facts.optional and not facts.group and field.type != field.TYPE_MESSAGE
        if alone and facts.map_meta is None:
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")


def _repeats(facts: Any) -> bool:  # noqa: ANN401 (of betterproto2)
    return bool(facts.repeated) or facts.map_meta is not None


def _typed(field: FieldDescriptorProto, facts: Any, holds: Class) -> Iterator[Class]:  # noqa: ANN401
    if facts.proto_type in _SCALARS:
        field.type = _SCALARS[facts.proto_type]
        return
    if facts.proto_type == "enum":
        field.type = field.TYPE_ENUM
        field.type_name = f".{_full_name(holds)}.Value"
        yield holds
        return
    holds = facts.unwrap() if facts.unwrap is not None else holds
    field.type = field.TYPE_MESSAGE
    field.type_name = f".{_full_name(holds)}"
    yield holds


def _map(
    field: FieldDescriptorProto,
    facts: Any,  # noqa: ANN401
    value_class: Class,
    message: DescriptorProto,
    owner: str,
) -> Iterator[Class]:
    entry = "".join(part.capitalize() for part in field.name.split("_")) + "Entry"
    field.type = field.TYPE_MESSAGE
    field.type_name = f".{owner}.{entry}"
    nested = message.nested_type.add(name=entry)
    nested.options.map_entry = True
    key = nested.field.add(name="key", number=1, label=field.LABEL_OPTIONAL)
    value = nested.field.add(name="value", number=2, label=field.LABEL_OPTIONAL)
    key_facts, value_facts = facts.map_meta
    key.type = _SCALARS[key_facts.proto_type]
    yield from _typed(value, value_facts, value_class)


def _uses(one: Class) -> list[Class]:
    if _is_enum(one):
        return []
    return [used for used in _fields(one, DescriptorProto()) if not _well_known(_full_name(used))]


def _groups(root: Class, known: dict[Class, str]) -> Iterator[list[Class]]:
    """Everything that is reached from here and not known yet, in groups that refer to one another,
    each after those that it needs (Tarjan's strongly connected components, without recursion).
    """
    index: dict[Class, int] = {root: 0}
    low: dict[Class, int] = {root: 0}
    path: list[Class] = [root]
    on_path = {root}
    work = [(root, iter(_uses(root)))]
    while work:
        one, rest = work[-1]
        for used in rest:
            if used in known:
                continue
            if used not in index:
                index[used] = low[used] = len(index)
                path.append(used)
                on_path.add(used)
                work.append((used, iter(_uses(used))))
                break
            if used in on_path:
                low[one] = min(low[one], index[used])
        else:
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[one])
            if low[one] == index[one]:
                at = path.index(one)
                group, path = path[at:], path[:at]
                on_path -= set(group)
                yield group
