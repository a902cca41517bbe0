"""Structural schemas: pruning, defaulting, validation. Pure.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import math
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, TypeAlias

from tests.kubernetes.apiserver.errors import Cause, Object

Value: TypeAlias = Any
Schema: TypeAlias = Mapping[str, Any]

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
INT_OR_STRING = "x-kubernetes-int-or-string"
_ROOT = frozenset({"apiVersion", "kind", "metadata"})


# --- pruning ---


def prune(value: Value, schema: Schema, *, root: bool = False, path: str = "") -> list[str]:
    """Drop the fields that the schema does not know, in place; answers with their paths."""
    if schema.get(PRESERVE) and not schema.get("properties"):
        return []
    dropped: list[str] = []
    if isinstance(value, dict):
        known = schema.get("properties") or {}
        more = schema.get("additionalProperties")
        always = _ROOT if root or schema.get(EMBEDDED) else frozenset[str]()
        for key in list(value):
            at = f"{path}.{key}" if path else key
            if key in always:
                continue
            if key in known:
                dropped += prune(value[key], known[key], path=at)
            elif isinstance(more, Mapping):
                dropped += prune(value[key], more, path=f"{path}[{key}]")
            elif not (more or schema.get(PRESERVE)):
                del value[key]
                dropped.append(at)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for number, one in enumerate(value):
            dropped += prune(one, schema["items"], path=f"{path}[{number}]")
    return dropped


def drop_nulls(value: Value) -> None:
    """Null is the same as absent where Go decodes into a struct: in all built-in kinds."""
    if isinstance(value, dict):
        for key in [key for key, one in value.items() if one is None]:
            del value[key]
        for one in value.values():
            drop_nulls(one)
    elif isinstance(value, list):
        for one in value:
            drop_nulls(one)


# --- defaulting ---


def default(value: Value, schema: Schema) -> None:
    """Fill in defaults, in place; also for a null that the schema does not allow."""
    if isinstance(value, dict):
        more = schema.get("additionalProperties")
        for key, inner in (schema.get("properties") or {}).items():
            if "default" in inner and (
                key not in value or (value[key] is None and not inner.get("nullable"))
            ):
                value[key] = deepcopy(inner["default"])
            if key in value:
                default(value[key], inner)
        if isinstance(more, Mapping):
            for key in value:
                if key not in (schema.get("properties") or {}):
                    default(value[key], more)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for one in value:
            default(one, schema["items"])


# --- validation ---


def validate(value: Value, schema: Schema, path: str = "") -> list[Cause]:
    """Everything that the schema refuses, in words like those of the API server."""
    return list(_validate(value, schema, path))


def _bad(path: str, value: Value, why: str) -> Cause:
    return Cause(path, f"Invalid value: {_shown(value)}: {path} in body {why}")


def _validate(value: Value, schema: Schema, path: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    wrong = _type_error(value, schema)
    if wrong:
        why = f"must be of type {wrong}: {_shown_type(value)}"
        yield _bad(path, value, why)._replace(reason="FieldValueTypeInvalid")
        return
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(one) for one in schema["enum"])
        words = f"Unsupported value: {_shown(value)}: supported values: {supported}"
        yield Cause(path, words, "FieldValueNotSupported")
    if isinstance(value, str):
        yield from _text(value, schema, path)
    elif isinstance(value, bool):
        pass
    elif isinstance(value, int | float):
        yield from _number(value, schema, path)
    elif isinstance(value, list):
        yield from _list(value, schema, path)
    elif isinstance(value, dict):
        yield from _map(value, schema, path)
    yield from _combined(value, schema, path)


def _type_error(value: Value, schema: Schema) -> str | None:
    if schema.get(INT_OR_STRING):
        fits = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
        return None if fits else "integer or string"
    wanted = schema.get("type")
    if wanted is None:
        return None
    fits = {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, float) and value.is_integer()),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }[wanted]
    return None if fits else str(wanted)


def _text(value: str, schema: Schema, path: str) -> Iterator[Cause]:
    if len(value) > schema.get("maxLength", math.inf):
        words = f"Too long: may not be more than {schema['maxLength']} bytes"
        yield Cause(path, words, "FieldValueTooLong")
    if len(value) < schema.get("minLength", 0):
        yield _bad(path, value, f"should be at least {schema['minLength']} chars long")
    pattern = schema.get("pattern")
    if pattern and not compiled(pattern).search(value):
        yield _bad(path, value, f"should match '{pattern}'")
    form = schema.get("format", "")
    if form in FORMATS and not _is(FORMATS[form], value):
        yield _bad(path, value, f"must be of type {form}: {_shown(value)}")


def _number(value: float, schema: Schema, path: str) -> Iterator[Cause]:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    low_out, high_out = bool(schema.get("exclusiveMinimum")), bool(schema.get("exclusiveMaximum"))
    if value < low or (low_out and value == low):
        than = "greater than" if low_out else "greater than or equal to"
        yield _bad(path, value, f"should be {than} {low}")
    if value > high or (high_out and value == high):
        than = "less than" if high_out else "less than or equal to"
        yield _bad(path, value, f"should be {than} {high}")
    step = schema.get("multipleOf")
    if step and value % step:
        yield _bad(path, value, f"should be a multiple of {step}")
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    if bits and not -(2**bits) <= value < 2**bits:
        yield _bad(path, value, f"must be of type {schema['format']}")


def _too_many(path: str, number: int, most: int) -> Cause:
    words = f"Too many: {number}: must have at most {most} items"
    return Cause(path, words, "FieldValueTooMany")


def _list(value: list[Value], schema: Schema, path: str) -> Iterator[Cause]:
    if len(value) > schema.get("maxItems", math.inf):
        yield _too_many(path, len(value), schema["maxItems"])
    if len(value) < schema.get("minItems", 0):
        yield _bad(path, len(value), f"should have at least {schema['minItems']} items")
    yield from _duplicates(value, schema, path)
    items = schema.get("items")
    if isinstance(items, Mapping):
        for number, one in enumerate(value):
            yield from _validate(one, items, f"{path}[{number}]")


def _duplicates(value: list[Value], schema: Schema, path: str) -> Iterator[Cause]:
    kind = schema.get("x-kubernetes-list-type", "set" if schema.get("uniqueItems") else "atomic")
    if kind == "atomic":
        return
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    seen: set[str] = set()
    for number, one in enumerate(value):
        if kind == "map":
            key = {k: one[k] for k in keys if k in one} if isinstance(one, dict) else one
        else:
            key = one
        text = json.dumps(key, sort_keys=True)
        if text in seen:
            yield Cause(f"{path}[{number}]", f"Duplicate value: {text}", "FieldValueDuplicate")
        seen.add(text)


def _map(value: Object, schema: Schema, path: str) -> Iterator[Cause]:
    if len(value) > schema.get("maxProperties", math.inf):
        yield _too_many(path, len(value), schema["maxProperties"])
    if len(value) < schema.get("minProperties", 0):
        yield _bad(path, len(value), f"should have at least {schema['minProperties']} properties")
    for key in schema.get("required") or ():
        if key not in value:
            yield Cause(join(path, key), "Required value", "FieldValueRequired")
    known = schema.get("properties") or {}
    more = schema.get("additionalProperties")
    for key, inner in value.items():
        if key in known:
            yield from _validate(inner, known[key], join(path, key))
        elif isinstance(more, Mapping):
            yield from _validate(inner, more, join(path, key))


def _combined(value: Value, schema: Schema, path: str) -> Iterator[Cause]:
    for inner in schema.get("allOf") or ():
        yield from _validate(value, inner, path)
    if schema.get("anyOf") and not any(_fits(value, one, path) for one in schema["anyOf"]):
        yield _bad(path, value, "must validate at least one schema (anyOf)")
    if schema.get("oneOf") and sum(_fits(value, one, path) for one in schema["oneOf"]) != 1:
        yield _bad(path, value, "must validate one and only one schema (oneOf)")
    if schema.get("not") is not None and _fits(value, schema["not"], path):
        yield _bad(path, value, "must not validate the schema (not)")


def _fits(value: Value, schema: Schema, path: str) -> bool:
    return next(_validate(value, schema, path), None) is None


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shown(value: Value) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _shown_type(value: Value) -> str:
    names = {
        dict: "object",
        list: "array",
        str: "string",
        bool: "boolean",
        int: "integer",
        float: "number",
    }
    return f'"{names.get(type(value), "null")}"'


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """Go's RE2 and Python agree on what schemas use, but for `\\z` and named groups."""
    return re.compile(pattern.replace("\\z", "\\Z"))


def _is(reads: Callable[[str], object], value: str) -> bool:
    try:
        return reads(value) is not False
    except ValueError:
        return False


_DURATION = re.compile(r"^[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+$")
_BYTE = re.compile(r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")

FORMATS: Mapping[str, Callable[[str], object]] = {
    "date-time": lambda text: datetime.datetime.fromisoformat(text.replace("Z", "+00:00")),
    "date": datetime.date.fromisoformat,
    "duration": lambda text: text == "0" or _DURATION.match(text) is not None,
    "byte": lambda text: _BYTE.match(text) is not None,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "cidr": lambda text: "/" in text and ipaddress.ip_network(text, strict=False),
    "uuid": uuid.UUID,
}
"""Formats that the API server checks, as far as our kinds use them; unknown ones are ignored."""
