"""Reads what `weir serve --decision-log` wrote, with no trust and no more memory than a line.

For what learns from it and for what explains it, in either package.

A line that is torn at the end of a file that was never closed is what a process that died leaves,
and is skipped. Anything else that is not as it was written is refused, with file and line.
"""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from controlplane.errors import WeirError
from controlplane.model.decisions import (
    CLOSED,
    END,
    FORMAT,
    MOST_LINE,
    OPEN,
    PREFIX,
    VERSION,
    End,
    Head,
    Record,
)
from controlplane.model.features import FEATURES

_HEAD = msgspec.json.Decoder(Head)
_RECORD = msgspec.json.Decoder(Record)
_END = msgspec.json.Decoder(End)


class DecisionFiles:
    """The files of a folder, oldest first. Read once; then it tells what was read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digest = hashlib.sha256()
        self.torn = 0
        """Files that end in the middle of a record."""

    @property
    def digest(self) -> str:
        """Of every byte that was read."""
        return "sha256:" + self._digest.hexdigest()

    def records(self) -> Iterator[Record]:
        """All of them; WeirError where something is not as it was written."""
        try:
            found = sorted(
                path
                for path in self._folder.iterdir()
                if path.name.startswith(PREFIX) and path.name.endswith((CLOSED, OPEN))
            )
        except OSError as error:
            raise WeirError(f"{self._folder}: {error.strerror}") from error
        if not found:
            raise WeirError(
                f"{self._folder} has no log of decisions: `weir serve --decision-log` writes one"
            )
        for path in found:
            yield from self._file(path)

    def _file(self, path: Path) -> Iterator[Record]:
        try:
            file = path.open("rb")
        except FileNotFoundError:  # closed meanwhile, or it made room
            path = path.with_name(path.name.removesuffix(OPEN) + CLOSED)
            if not path.exists():
                return
            file = path.open("rb")
        with file:
            yield from self._lines(path, file)

    def _lines(self, path: Path, file: BinaryIO) -> Iterator[Record]:
        crc, closed, ended = 0, path.name.endswith(CLOSED), False
        for number in itertools.count(1):
            line = file.readline(MOST_LINE + 1)
            if not line:
                break
            if ended:
                raise _damaged(path, number, "there is something after its end")
            if not line.endswith(b"\n"):
                if closed or len(line) > MOST_LINE:
                    raise _damaged(path, number, "the line has no end")
                self.torn += 1
                return
            if number == 1:
                _check_head(path, line)
            elif line.startswith(END):
                _check_end(path, number, line, crc)
                ended = True
            else:
                yield _record(path, number, line)
            crc = zlib.crc32(line, crc)
            self._digest.update(line)
        if closed and not ended:
            raise _damaged(path, number, "its end is missing")


def _check_head(path: Path, line: bytes) -> None:
    try:
        head = _HEAD.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _damaged(path, 1, f"it does not begin as a log of decisions: {error}") from error
    if (head.format, head.version) != (FORMAT, VERSION):
        raise WeirError(
            f"{path}: format {head.format!r}, version {head.version}; this version of Weir reads "
            f"{FORMAT!r}, version {VERSION}"
        )
    if head.features != FEATURES:
        other = sorted(set(head.features) ^ set(FEATURES)) or ["their order"]
        raise WeirError(
            f"{path} was written with other features than this version of Weir has "
            f"({', '.join(other)}): read it with the version that wrote it, or log anew"
        )


def _check_end(path: Path, number: int, line: bytes, crc: int) -> None:
    try:
        end = _END.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _damaged(path, number, str(error)) from error
    if end.end != number - 2:
        raise _damaged(path, number, f"it has {number - 2} records and was closed with {end.end}")
    if end.crc32 != crc:
        raise _damaged(path, number, "its checksum is not that of its lines")


def _record(path: Path, number: int, line: bytes) -> Record:
    try:
        record = _RECORD.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _damaged(path, number, str(error)) from error
    groups = len(record.groups)
    each = (record.base, record.mean, record.action, record.proposed)
    if len(record.table) != 4 * groups * len(FEATURES) or any(len(one) != groups for one in each):
        raise _damaged(path, number, f"its parts are not those of {groups} groups")
    return record


def _damaged(path: Path, number: int, why: str) -> WeirError:
    return WeirError(f"{path}, line {number}: damaged, {why}; take the file out of the folder")
