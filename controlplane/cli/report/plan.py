"""What a report takes, one part at a time, into one archive within bounds.

A part that cannot be had does not stop the others: the archive says what is missing, and why. What
is written went through the scrubber, whatever it is.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.cli.report.scrub import Scrubber
from controlplane.errors import WeirError

MOST_BYTES = 8 * 1024 * 1024
"""Of one part; of what is longer the end is taken, where the news of a log stands."""
_UNFORESEEN = (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError)
"""What reading something of another shape raises: a report is made where something is wrong."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the archive."""

    path: str
    what: str
    """In words, for `--dry-run`."""
    read: Callable[[], object] = field(repr=False)
    """Text, bytes of text, or what is written as JSON. Raises `WeirError` where there is none."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much, and for how long."""

    bytes: int
    ends_s: float
    """By the clock that is given."""


def place(*parts: str) -> str:
    """A path in the archive, of names that may hold anything.

    >>> place("envoys", "team/a:1", "../acked.json")
    'envoys/team_a_1/.._acked.json'
    """
    cut = (re.sub(r"[^\w.@=+-]", "_", one)[:128] for one in parts)
    return "/".join(one if one.strip(".") else "_" for one in cut)


def end(log: bytes, most: int) -> bytes:
    """The last whole lines: what begins in the middle of a word could hide what the word is."""
    if len(log) <= most:
        return log
    return log[len(log) - most :].partition(b"\n")[2]


def write(
    to: Path,
    root: str,
    parts: Iterable[Part],
    scrubber: Scrubber,
    bounds: Bounds,
    *,
    clock: Callable[[], float],
    epoch_s: int,
) -> dict[str, str]:
    """Put them into a new file that only its owner may read; what was left out, and why.

    `root`: the folder that all of it is in. `epoch_s`: the time of the files. Raises `OSError`.
    """
    beside = to.with_name(f".{to.name}.{os.getpid()}")
    opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    left_out: dict[str, str] = {}
    try:
        with os.fdopen(opened, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            taken = 0
            for path, text in _read(parts, scrubber, left_out, bounds, clock):
                if taken + len(text) > bounds.bytes:
                    left_out[path] = f"the archive would hold more than {bounds.bytes} bytes"
                    continue
                taken += len(text)
                _add(archive, f"{root}/{path}", text, epoch_s)
            told = _text(left_out, scrubber).encode()
            _add(archive, f"{root}/left-out.json", told, epoch_s)
        beside.replace(to)
    finally:
        beside.unlink(missing_ok=True)
    return left_out


def _read(
    parts: Iterable[Part],
    scrubber: Scrubber,
    left_out: dict[str, str],
    bounds: Bounds,
    clock: Callable[[], float],
) -> Iterator[tuple[str, bytes]]:
    seen = set[str]()
    for one in parts:
        path = one.path
        while path in seen:  # names that differ in what a path may not hold
            path = f"{path}~"
        seen.add(path)
        if clock() > bounds.ends_s:
            left_out[path] = "there was no time left"
            continue
        try:
            found = one.read()
        except WeirError as error:
            left_out[path] = str(error)
            continue
        except _UNFORESEEN as error:
            left_out[path] = repr(error)
            continue
        # Before it is cut: a secret that is cut in half is no longer recognised.
        text = _text(found, scrubber).encode(errors="replace")
        if len(text) > MOST_BYTES:
            text = b"(the beginning is left out)\n" + end(text, MOST_BYTES)
        yield path, text


def _text(found: object, scrubber: Scrubber) -> str:
    if isinstance(found, bytes):
        found = found.decode(errors="replace")
    if isinstance(found, str):
        return scrubber.text(found)
    return json.dumps(scrubber.document(found), indent=1, ensure_ascii=False) + "\n"


def _add(archive: tarfile.TarFile, path: str, data: bytes, epoch_s: int) -> None:
    member = tarfile.TarInfo(path)
    member.size, member.mtime, member.mode = len(data), epoch_s, 0o600
    archive.addfile(member, io.BytesIO(data))


def listed(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    """What would be taken."""
    return ({"path": one.path, "what": one.what} for one in parts)
