"""JSON patch and JSON merge patch. Pure.

RFC 6902, RFC 6901, RFC 7386.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeAlias

from tests.kubernetes.apiserver.errors import ApiError, Object, bad_request

Value: TypeAlias = Any


def merge(target: Value, patch: Value) -> Value:
    """RFC 7386: null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merge(made.get(key), value)
    return made


def json_patch(target: Object, operations: Value) -> Value:
    """RFC 6902; a `test` that does not hold, or a path that is not there, is 422."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    made: Value = deepcopy(target)
    for one in operations:
        if not isinstance(one, dict) or "op" not in one or "path" not in one:
            raise bad_request("an operation of a JSON patch has op and path")
        try:
            made = _apply(made, one)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise _unprocessable(f"{one['op']} operation does not apply: {error}") from error
    return made


def _unprocessable(message: str) -> ApiError:
    return ApiError(
        422,
        "Invalid",
        f"the server rejected our request due to an error in our request: {message}",
        details={},
    )


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is not a JSON pointer")
    return [one.replace("~1", "/").replace("~0", "~") for one in pointer.split("/")[1:]]


def _at(value: Value, step: str) -> Value:
    if isinstance(value, list):
        return value[_index(step, len(value) - 1)]
    return value[step]


def _index(step: str, most: int) -> int:
    if not step.isdigit() or int(step) > most:
        raise IndexError(f"{step} is not in the list")
    return int(step)


def _read(root: Value, pointer: str) -> Value:
    for step in _steps(pointer):
        root = _at(root, step)
    return root


def _apply(root: Value, one: Object) -> Value:
    match one["op"]:
        case "test":
            if _read(root, one["path"]) != one.get("value"):
                raise ValueError(f"testing path {one['path']} value failed")
            return root
        case "add":
            return _add(root, one["path"], deepcopy(one["value"]))
        case "remove":
            return _remove(root, one["path"])
        case "replace":
            _read(root, one["path"])
            return _add(_remove(root, one["path"]), one["path"], deepcopy(one["value"]))
        case "copy":
            return _add(root, one["path"], deepcopy(_read(root, one["from"])))
        case "move":
            moved = _read(root, one["from"])
            return _add(_remove(root, one["from"]), one["path"], moved)
        case unknown:
            raise ValueError(f"unknown operation {unknown!r}")


def _add(root: Value, pointer: str, value: Value) -> Value:
    steps = _steps(pointer)
    if not steps:
        return value
    parent = root
    for step in steps[:-1]:
        parent = _at(parent, step)
    last = steps[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    else:
        parent[last] = value
    return root


def _remove(root: Value, pointer: str) -> Value:
    steps = _steps(pointer)
    if not steps:
        return None
    parent = root
    for step in steps[:-1]:
        parent = _at(parent, step)
    if isinstance(parent, list):
        del parent[_index(steps[-1], len(parent) - 1)]
    else:
        del parent[steps[-1]]
    return root
