"""JSON patches (RFC 6902) and merge patches (RFC 7396) on plain values, which are not changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from controlplane.resources.envoy_patch import Operation

Json = Any


class PatchError(Exception):
    """A patch does not fit what it is for."""


def operated(document: Json, one: Operation) -> Json:
    """The document after an operation. Raises `PatchError` with the path."""
    document = copy.deepcopy(document)
    path = _steps(one.path)
    if one.op == "test":
        if _at(document, path) != one.value:
            raise PatchError(f"test: {one.path} has another value")
        return document
    if one.op == "copy":
        return _add(document, path, copy.deepcopy(_at(document, _steps(one.from_ or ""))))
    if one.op == "move":
        begin = _steps(one.from_ or "")
        if path[: len(begin)] == begin and path != begin:
            raise PatchError(f"move: {one.path} is within {one.from_}")
        value = _at(document, begin)
        return _add(_remove(document, begin), path, value)
    if one.op == "add":
        return _add(document, path, one.value)
    _at(document, path)  # it must be there
    if one.op == "remove":
        return _remove(document, path)
    return _add(_remove(document, path), path, one.value) if path else one.value


def merged(document: Json, patch: Mapping[str, Json]) -> Json:
    """The document with these fields put in.

    >>> merged({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}, "d": 3})
    {'a': {'b': 1, 'c': [2]}, 'd': 3}
    """
    out = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        out[name] = merged(out.get(name), value) if isinstance(value, dict) else value
    return out


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _written(steps: list[str]) -> str:
    return "/" + "/".join(steps)


def _at(document: Json, steps: list[str]) -> Json:
    for at, step in enumerate(steps):
        try:
            document = document[_index(document, step) if isinstance(document, list) else step]
        except (KeyError, IndexError, TypeError):
            raise PatchError(f"there is no {_written(steps[: at + 1])}") from None
    return document


def _index(entries: list[Json], step: str) -> int:
    if not step.isdigit() or (step != "0" and step.startswith("0")):
        raise PatchError(f"{step!r} is no place in a list of {len(entries)}")
    return int(step)


def _add(document: Json, steps: list[str], value: Json) -> Json:
    if not steps:
        return value
    parent, last = _at(document, steps[:-1]), steps[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        at = len(parent) if last == "-" else _index(parent, last)
        if at > len(parent):
            raise PatchError(f"there is no place for {_written(steps)}")
        parent.insert(at, value)
    else:
        raise PatchError(f"{_written(steps[:-1])} holds nothing")
    return document


def _remove(document: Json, steps: list[str]) -> Json:
    if not steps:
        raise PatchError("the whole resource is not taken away")
    parent, last = _at(document, steps[:-1]), steps[-1]
    del parent[_index(parent, last) if isinstance(parent, list) else last]
    return document
