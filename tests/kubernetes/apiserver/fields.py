"""Sets of fields, as `managedFields` writes them (FieldsV1). Pure.

A path is a tuple of FieldsV1's own words: `f:name` for a field, `k:{...}` for an item of a list by
its keys, `v:...` for an item of a set.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from tests.kubernetes.apiserver.errors import Object

Path: TypeAlias = tuple[str, ...]
Paths: TypeAlias = frozenset[Path]
Value: TypeAlias = Any
Schema: TypeAlias = Mapping[str, Any]

ANY: Schema = {}
_UNOWNED = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name",
                "namespace",
                "generateName",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "uid",
                "generation",
                "selfLink",
                "resourceVersion",
                "managedFields",
            )
        ),
    }
)
_META: Schema = {
    "properties": {
        "ownerReferences": {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "items": {"x-kubernetes-map-type": "atomic"},
        },
        "finalizers": {"x-kubernetes-list-type": "set"},
    }
}
"""How the lists of ObjectMeta merge; definitions of custom resources do not say it."""


def owned(one: Object, schema: Schema) -> dict[Path, Value]:
    """All fields of an object that somebody can own, and what they hold.

    Of an item of a list by keys, that it is there: what it holds is owned by itself.
    """
    return {
        path: value
        for path, value in _paths(one, rooted(schema), ())
        if path[:2] not in _UNOWNED and path[:1] not in _UNOWNED
    }


def rooted(schema: Schema) -> Schema:
    """The schema of a whole object: with that of its metadata."""
    known = {**(schema.get("properties") or {}), "metadata": _META}
    return {**schema, "properties": known}


def inner(schema: Schema, key: str) -> Schema:
    """The schema of a field."""
    found = (schema.get("properties") or {}).get(key)
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, Mapping) else ANY


def merges(value: Value, schema: Schema) -> str:
    """How it is owned: `map` field by field, `list` by keys, `set` by value, `whole`."""
    if isinstance(value, dict):
        return "whole" if schema.get("x-kubernetes-map-type") == "atomic" else "map"
    if isinstance(value, list):
        kind = schema.get("x-kubernetes-list-type")
        if kind == "map":
            return "list" if all(isinstance(one, dict) for one in value) else "whole"
        return "set" if kind == "set" else "whole"
    return "whole"


def item_word(item: Value, schema: Schema) -> str:
    """How an item of a list is called in a path."""
    if schema.get("x-kubernetes-list-type") == "set":
        return f"v:{_text(item)}"
    keys = {}
    for key in schema.get("x-kubernetes-list-map-keys") or ():
        value = item.get(key, inner(schema.get("items") or ANY, key).get("default"))
        if value is not None:
            keys[key] = value
    return f"k:{_text(keys)}"


def _text(value: Value) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def children(value: Value, schema: Schema) -> Iterator[tuple[str, Value, Schema]]:
    """The parts of a value that are owned one by one: word, value, schema."""
    how = merges(value, schema)
    if how == "map":
        for key, one in value.items():
            yield f"f:{key}", one, inner(schema, key)
    elif how in ("list", "set"):
        for one in value:
            yield item_word(one, schema), one, schema.get("items") or ANY


def _paths(value: Value, schema: Schema, path: Path) -> Iterator[tuple[Path, Value]]:
    how = merges(value, schema)
    if how == "whole" or not value:
        yield path, value
        return
    for word, one, below in children(value, schema):
        at = (*path, word)
        if how in ("list", "set"):
            yield at, None
        if how != "set":
            yield from _paths(one, below, at)


def at(value: Value, schema: Schema, path: Path) -> Value:
    """What stands at a path; `MISSING` where there is nothing."""
    for word in path:
        found = next((c for c in children(value, schema) if c[0] == word), None)
        if found is None:
            return MISSING
        _, value, schema = found
    return value


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


def encode(paths: Paths) -> Object:
    """As FieldsV1."""
    made: Object = {}
    for path in sorted(paths):
        node = made
        for word in path:
            node = node.setdefault(word, {})
        node["."] = {}
    return _without_lonely_dots(made)


def _without_lonely_dots(node: Object) -> Object:
    if set(node) == {"."}:
        return {}
    return {
        word: _without_lonely_dots(below) if word != "." else {} for word, below in node.items()
    }


def decode(written: Object) -> Paths:
    return frozenset(_decode(written, ()))


def _decode(node: Object, path: Path) -> Iterator[Path]:
    if path and (not node or "." in node):
        yield path
    for word, below in node.items():
        if word != ".":
            yield from _decode(below, (*path, word))


def spoken(path: Path) -> str:
    """As people are told: `.spec.ports[port=80].name`."""
    made = ""
    for word in path:
        kind, _, text = word.partition(":")
        if kind == "f":
            made += f".{text}"
        elif kind == "k":
            keys = json.loads(text)
            made += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in sorted(keys.items())) + "]"
        else:
            made += f"[={text}]"
    return made
