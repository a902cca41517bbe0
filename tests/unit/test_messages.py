"""Every message of ours is held against the complete class of Envoy's API, field by field.

The comment above a message in `protos/` names its origin; a nested message has that of its parent.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "protos").glob("*.proto"))
ORIGIN = re.compile(r"^// ((?:envoy|google)\.[\w.]+\w)[^\n]*\nmessage (\w+)", re.MULTILINE)
TYPES = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in (
        *("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string"),
        *("message", "bytes", "uint32", "enum", "sfixed32", "sfixed64", "sint32", "sint64"),
    )
}


def origins() -> dict[str, str]:
    """Our full name -> the name in Envoy's API."""
    found = {}
    for path in PROTOS:
        text = path.read_text()
        package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
        assert package, f"{path.name} has no package"
        for origin, name in ORIGIN.findall(text):
            found[f"{package[1]}.{name}"] = origin
    return found


ORIGINS = origins()


def ours() -> Iterator[Descriptor]:
    for path in PROTOS:
        module = importlib.import_module(f"controlplane._pb.{path.stem}_pb2")
        waiting = list(module.DESCRIPTOR.message_types_by_name.values())
        while waiting:
            message = waiting.pop()
            if not message.GetOptions().map_entry:
                yield message
                waiting += message.nested_types


MESSAGES = {message.full_name: message for message in ours()}


def origin_of(message: Descriptor) -> str:
    if message.containing_type is not None:
        return f"{origin_of(message.containing_type)}.{message.name}"
    return ORIGINS[message.full_name]


def plain(name: str) -> str:
    """How the two ways of writing a name are compared."""
    return re.sub(r"[._]", "", name).lower()


def complete(origin: str) -> Any:  # noqa: ANN401 - a class that only its name is known of
    """The class of `envoy_data_plane` with this name; messages in messages are joined there."""
    parts = origin.split(".")
    package = [part for part in parts if part[0].islower()]
    module = importlib.import_module(".".join(["envoy_data_plane", *package]))
    wanted = plain("".join(parts[len(package) :]))
    found = [value for name, value in vars(module).items() if plain(name) == wanted]
    assert found, f"{origin} is not in envoy_data_plane"
    return found[0]


def test_every_message_says_where_it_comes_from() -> None:
    outermost = {name for name, one in MESSAGES.items() if one.containing_type is None}
    missing = outermost - ORIGINS.keys()
    assert missing <= {"weir.discovery.Any"}, "wanted: // envoy.… above the message"
    assert {"weir.access_log.AccessLogCommon", "weir.load_stats.ClusterStats"} <= outermost


@pytest.mark.parametrize(
    "name", [name for name in sorted(MESSAGES) if name != "weir.discovery.Any"]
)
def test_fields_have_the_numbers_and_types_of_envoy(name: str) -> None:
    theirs = {
        field.name.rstrip("_"): field
        for field in dataclasses.fields(complete(origin_of(MESSAGES[name])))
    }
    for field in MESSAGES[name].fields:
        where = f"{name}.{field.name}"
        assert field.name in theirs, f"{where} is not in Envoy's message"
        their = theirs[field.name].metadata["betterproto"]
        assert field.number == their.number, where
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            assert their.proto_type == "map", where
            continue
        assert TYPES[field.type] == their.proto_type, where
        assert field.is_repeated == their.repeated, where
        target = field.message_type
        if target is not None and (target.full_name in ORIGINS or target.containing_type):
            parts = [part for part in origin_of(target).split(".") if part[0].isupper()]
            assert plain("".join(parts)) in plain(str(theirs[field.name].type)), where
