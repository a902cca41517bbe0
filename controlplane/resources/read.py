"""YAML text to plain values that know their lines, within bounds.

Documents of a file are cut apart by their markers first, so that one that does not parse leaves the
others alone. Only plain values come out: mappings, lists, text, numbers, booleans. Nulls are as if
not written. What is bounded: characters, documents, depth, and values in all (a few aliases can
stand for billions of values; the count is taken while they are followed, and stops there).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_DOCUMENTS = 5_000
MAX_DEPTH = 40
MAX_VALUES = 500_000
"""In one document."""
MAX_DIGITS = 64
"""Of a number. YAML has ways to write numbers that take for ever to read, or cannot be written."""

_TOO_DEEP = (f"nested deeper than {MAX_DEPTH} levels", "no kind is: look for brackets left open")
_MARKER = re.compile(r"^(---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SAFE = yaml.SafeLoader("")

Path = tuple[str | int, ...]


class UnreadableError(Exception):
    """This document cannot be read. `line` is within the document, from 0."""

    def __init__(self, line: int, message: str, advice: str = "", field: str = "") -> None:
        super().__init__(message)
        self.line, self.message, self.advice, self.field = line, message, advice, field


@dataclass(frozen=True, slots=True)
class Chunk:
    """The text of one document and the line of the file it starts on, from 1."""

    text: str
    line: int


def split(text: str) -> Iterator[Chunk]:
    """The documents of a file that hold anything."""
    at, line = 0, 1
    ends = [(m.start(), m.end()) for m in _MARKER.finditer(text)] + [(len(text), len(text))]
    for start, end in ends:
        piece = text[at:start]
        if any(_says_something(row) for row in piece.split("\n")):
            yield Chunk(piece, line)
        line += text.count("\n", at, end)
        at = end


def _says_something(row: str) -> bool:
    stripped = row.strip()
    return bool(stripped) and not stripped.startswith("#") and not row.startswith("%")


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A document: its plain value, and where each part stands."""

    value: Any
    """Plain values: mappings, lists, text, numbers, booleans."""
    root: yaml.Node | None
    """None: all of it stands on one line."""

    @property
    def line(self) -> int:
        """Where its first word stands, from 0."""
        return int(self.root.start_mark.line) if self.root is not None else 0

    def line_of(self, path: Path, of_key: bool = False) -> int:
        """Line, from 0, of the value at `path` or of the nearest part above it that exists.

        With `of_key` the line of the key rather than that of the value.
        """
        if self.root is None:
            return 0
        node, line = self.root, self.root.start_mark.line
        for at, step in enumerate(path):
            found = _child(node, step)
            if found is None:
                break
            key, node = found
            mark = key if key is not None and (of_key or at < len(path) - 1) else node
            line = mark.start_mark.line
        return int(line)


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None


def parse(text: str) -> Tree | None:
    """The document in this text; None when it is empty. Raises `UnreadableError`."""
    tree = _one_line(text)
    return tree if tree is not None else _parse_yaml(text)


def _one_line(text: str) -> Tree | None:
    """A document that is one line of JSON, as the API server of Kubernetes sends it, in a tenth of
    the time; None where it is anything else, or anything is wrong with it."""
    if not text.startswith("{") or "\n" in text:
        return None
    try:
        value = json.loads(text, object_pairs_hook=_each_once, parse_int=_number, parse_float=float)
        return Tree(_bounded(value, 0, [MAX_VALUES]), None)
    except (ValueError, RecursionError):
        return None


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("too long")
    return int(digits)


def _bounded(value: object, depth: int, left: list[int]) -> object:
    """Without nulls. Raises `ValueError` beyond the bounds."""
    left[0] -= 1
    if depth > MAX_DEPTH or left[0] < 0:
        raise ValueError("too much")
    if isinstance(value, dict):
        below = ((name, one) for name, one in value.items() if one is not None)
        return {name: _bounded(one, depth + 1, left) for name, one in below}
    if isinstance(value, list):
        return [_bounded(one, depth + 1, left) for one in value]
    return value


def _parse_yaml(text: str) -> Tree | None:
    try:
        _bound_depth(text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        last = len(text.rstrip().splitlines()) - 1  # not beyond the document
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise UnreadableError(
            min(mark.line, last) if mark else 0,
            f"not YAML: {words}",
            "check indentation, colons and quotes",
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = f"not YAML: {str(error).splitlines()[0]}"
        raise UnreadableError(0, message, "write it as plain text in UTF-8") from error
    if root is None:
        return None
    return Tree(_Builder().build(root, 0, ""), root)


def _bound_depth(text: str) -> None:
    """The composer calls itself for each level and would exhaust the stack: look first."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line if event.start_mark else 0
                raise UnreadableError(line, *_TOO_DEEP)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def readable_part(text: str) -> object:
    """What stands before the place where a text stops being YAML: mappings, lists and text, with
    what is open there closed. Aliases are left out."""
    events, stops = _events(text)
    rows = text.split("\n")
    # The scanner looks ahead, and stops before it gave all that it had read.
    cut = (_events("\n".join(rows[:stop]))[0] for stop in stops)
    open_: list[tuple[bool, list[object]]] = [(False, [])]
    for event in max((events, *cut), key=len):
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((isinstance(event, yaml.MappingStartEvent), []))
        elif isinstance(event, yaml.CollectionEndEvent):
            _close(open_)
        elif isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
            open_[-1][1].append(getattr(event, "value", None))
    while len(open_) > 1:
        _close(open_)
    return next(iter(open_[0][1]), None)


def _events(text: str) -> tuple[list[yaml.Event], list[int]]:
    """As many as can be read, and the lines near which it stopped."""
    found: list[yaml.Event] = []
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                break
            found.append(event)
    except yaml.MarkedYAMLError as error:
        return found, [one.line for one in (error.problem_mark, error.context_mark) if one]
    except (yaml.YAMLError, ValueError):
        return found, []
    return found, []


def _close(open_: list[tuple[bool, list[object]]]) -> None:
    is_mapping, found = open_.pop()
    pairs = zip(found[::2], found[1::2], strict=False)
    names = {key: value for key, value in pairs if isinstance(key, str)}
    open_[-1][1].append(names if is_mapping else found)


class _Builder:
    def __init__(self) -> None:
        self.values = 0

    def build(self, node: yaml.Node, depth: int, path: str) -> object:
        self.values += 1
        line = node.start_mark.line
        if self.values > MAX_VALUES:
            raise UnreadableError(
                line, f"more than {MAX_VALUES} values", "use fewer aliases or split it"
            )
        if depth > MAX_DEPTH:
            raise UnreadableError(line, *_TOO_DEEP, path)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth, path)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.build(one, depth + 1, f"{path}[{at}]") for at, one in enumerate(node.value)
            ]
        assert isinstance(node, yaml.ScalarNode)
        return _scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, depth: int, path: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise UnreadableError(
                    key.start_mark.line,
                    "a key is plain text",
                    "write out what a merge key (<<) or a list stands for",
                    path,
                )
            name = str(key.value)
            below = f"{path}.{name}" if path else name
            if name in seen:
                raise UnreadableError(
                    key.start_mark.line, f"{name!r} is written twice", "keep one of them", below
                )
            seen.add(name)
            built = self.build(value, depth + 1, below)
            if built is not None:
                out[name] = built
        return out


def _scalar(node: yaml.ScalarNode, path: str) -> object:
    kind = node.tag.rpartition(":")[2]
    if kind in ("str", "timestamp"):
        return node.value
    line = node.start_mark.line
    if kind in ("int", "float") and len(node.value) > MAX_DIGITS:
        message = f"a number of more than {MAX_DIGITS} characters"
        raise UnreadableError(line, message, "quote it if it is text", path)
    try:
        if kind == "null":
            return None
        if kind == "bool":
            return _SAFE.construct_yaml_bool(node)
        if kind == "int":
            return _SAFE.construct_yaml_int(node)
        if kind == "float":
            return _SAFE.construct_yaml_float(node)
    except (ValueError, KeyError, IndexError) as error:
        message = f"what stands here is not a {kind}"  # not what: it may be a secret
        raise UnreadableError(line, message, "quote it if it is text", path) from error
    raise UnreadableError(line, f"tag {node.tag} is not taken", "write a plain value", path)
