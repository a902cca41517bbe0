"""What a folder of documents holds, and files of logs."""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controlplane.cli.report import allowed
from controlplane.cli.report.plan import Part, end, place
from controlplane.cli.report.scrub import known_of
from controlplane.errors import WeirError
from controlplane.resources.folder import read_folder, require_folder
from controlplane.resources.read import UnreadableError, parse, split


def known(folder: Path) -> Iterator[str]:
    """What stands in the Secrets of a folder. Raises `ConfigurationError` without one."""
    require_folder(folder)
    for content in read_folder(folder).values():
        if isinstance(content, OSError):
            continue  # nothing of it is taken
        for one in _parsed(content):
            if isinstance(one, dict) and one.get("kind") == "Secret":
                yield from known_of([_encoded(one)])


def documents(folder: Path) -> Iterator[Part]:
    """Each file. Raises `ConfigurationError` without a folder."""
    require_folder(folder)
    for name, content in sorted(read_folder(folder).items()):
        yield Part(
            place("documents", f"{name}.json"),
            f"{name}, without texts that may be secret",
            functools.partial(_cut, content),
        )


def _cut(content: bytes | OSError) -> list[Any]:
    return [_document(one) for one in _parsed(content)]


def _document(one: Any) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(one, UnreadableError):
        return {"unreadable": one.message, "line": one.line}
    if isinstance(one, dict) and one.get("kind") in ("Secret", "ConfigMap"):
        return allowed.secret(_encoded(one))
    return allowed.kubernetes(one)


def _parsed(content: bytes | OSError) -> Iterator[Any]:
    """The documents of a file, each a value or why it is none. Raises `WeirError`."""
    if isinstance(content, OSError):
        raise WeirError(f"it cannot be read: {content.strerror}") from content
    for chunk in split(content.decode(errors="replace")):
        try:
            tree = parse(chunk.text)
        except UnreadableError as error:
            yield error
        else:
            yield tree.value if tree is not None else None


def _encoded(one: dict[str, Any]) -> dict[str, Any]:
    """As the API server keeps it: what is written as it is becomes data."""
    written = _entries(one.get("stringData"))
    encoded = {n: base64.b64encode(str(v).encode()).decode() for n, v in written.items()}
    data, binary = _entries(one.get("data")), _entries(one.get("binaryData"))
    return {**one, "data": {**data, **encoded}, "binaryData": binary}


def _entries(one: object) -> dict[str, Any]:
    """Nobody has checked it: what ought to hold entries, and does not, is one."""
    if isinstance(one, dict):
        return one
    return {} if one is None else {"": str(one)}


def log(path: Path, most: int) -> Part:
    """The end of a file."""
    return Part(
        place("logs", path.name), f"the last {most} bytes of {path}", lambda: _end(path, most)
    )


def _end(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - most - 1))
            return end(file.read(most + 1), most)
    except OSError as error:
        raise WeirError(f"{path}: {error.strerror}") from error
