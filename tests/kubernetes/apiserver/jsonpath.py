"""The JSONPath of printer columns. Pure.

https://kubernetes.io/docs/reference/kubectl/jsonpath/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

Value: TypeAlias = Any
Step: TypeAlias = Callable[[Value], Iterator[Value]]

_TOKEN = re.compile(
    r"""\.?(?P<name>(?:[A-Za-z0-9_$/-]|\\.)+)
      | \[\?\(@(?P<path>[^=!<>]+?)\s*(?P<op>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[^)]+)\)\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<quoted>'[^']*'|"[^"]*")\]
      | (?P<all>\[\*\]|\.\*)""",
    re.VERBOSE,
)


def find(one: Value, path: str) -> list[Value]:
    """All that the path leads to."""
    found = [one]
    for step in _steps(path):
        found = [value for at in found for value in step(at)]
    return found


@lru_cache(maxsize=512)
def _steps(path: str) -> tuple[Step, ...]:
    made: list[Step] = []
    at = 0
    while at < len(path):
        match = _TOKEN.match(path, at)
        if match is None:
            raise ValueError(f"JSONPath {path!r} cannot be read at {at}")
        made.append(_step(match))
        at = match.end()
    return tuple(made)


def _step(match: re.Match[str]) -> Step:
    if match["name"] is not None:
        return _field(re.sub(r"\\(.)", r"\1", match["name"]))
    if match["quoted"] is not None:
        return _field(match["quoted"][1:-1])
    if match["index"] is not None:
        return _item(int(match["index"]))
    if match["all"] is not None:
        return _every
    return _filter(match["path"].strip(), match["op"] == "==", match["value"].strip("\"' "))


def _field(name: str) -> Step:
    def step(at: Value) -> Iterator[Value]:
        if isinstance(at, dict) and name in at:
            yield at[name]

    return step


def _item(index: int) -> Step:
    def step(at: Value) -> Iterator[Value]:
        if isinstance(at, list) and -len(at) <= index < len(at):
            yield at[index]

    return step


def _every(at: Value) -> Iterator[Value]:
    if isinstance(at, list):
        yield from at
    elif isinstance(at, dict):
        yield from at.values()


def _filter(path: str, wanted: bool, value: str) -> Step:
    def step(at: Value) -> Iterator[Value]:
        for one in at if isinstance(at, list) else ():
            found = find(one, path)
            if (bool(found) and str(found[0]) == value) is wanted:
                yield one

    return step
