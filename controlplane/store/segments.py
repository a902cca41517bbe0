"""Files that lines are added to, in a folder that never takes more than so much of the disk.

A file is written as `NAME.jsonl.open`. When it is full it gets its last line, is written through to
the disk, and only then called `NAME.jsonl`: such a file is complete. The oldest files make room for
new ones. A process that dies leaves an open one, whose last line may be torn; it is read as far as
it goes, and never written again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from controlplane.model.decisions import CLOSED, OPEN, PREFIX, End, Head

_LAST = 64
"""Bytes that the last line takes at most."""


class Segments:
    """Not for two threads at a time, and a folder is not for two processes."""

    def __init__(
        self, folder: Path, *, most_bytes: int, files: int, wall_clock: Callable[[], float]
    ) -> None:
        """`files` of equal size are `most_bytes` together; the folder is made when needed."""
        self._folder = folder
        self._files, self._each = files, most_bytes // files
        self._most_bytes = most_bytes
        self._wall_clock = wall_clock
        self._number = itertools.count()
        self._fd: int | None = None
        self._path = folder
        self._size = self._records = self._crc = 0
        self.written = 0
        """Lines, since the start."""

    def append(self, lines: Iterable[bytes]) -> None:
        """Add these, each whole or not at all. OSError: those that `written` counts were."""
        for line in lines:
            if self._fd is not None and self._size + len(line) + _LAST > self._each:
                self.close()
            if self._fd is None:
                self._begin()
            self._add(line)
            self._records += 1
            self.written += 1

    def close(self) -> None:
        """Complete the file that is open, if one is. OSError: it stays as it is, to be read as far
        as it goes."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            _write(fd, msgspec.json.encode(End(self._records, self._crc)) + b"\n", self._size)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(self._path, _closed(self._path))
        _through(self._folder)

    def _begin(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_room()
        name = f"{PREFIX}{int(self._wall_clock() * 1e3):013d}-{next(self._number):06d}"
        self._path = self._folder / (name + OPEN)
        # O_NOFOLLOW and O_EXCL: whoever may write into the folder leads us nowhere else.
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._path, how, 0o600)
        self._size = self._records = self._crc = 0
        self._add(msgspec.json.encode(Head()) + b"\n")

    def _add(self, line: bytes) -> None:
        assert self._fd is not None
        try:
            _write(self._fd, line, self._size)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)  # what did not fit is not left in the middle
            if os.fstat(self._fd).st_size != self._size or not self._size:
                self._give_up()
            raise
        self._size += len(line)
        self._crc = zlib.crc32(line, self._crc)

    def _give_up(self) -> None:
        """Leave the file as it is; one without a first line is nothing."""
        assert self._fd is not None
        os.close(self._fd)
        self._fd = None
        if not self._size:
            self._path.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """For one more file of the usual size."""
        found = sorted(self._folder.glob(f"{PREFIX}*"))
        sizes = [path.stat().st_size for path in found]
        while found and (len(found) >= self._files or sum(sizes) + self._each > self._most_bytes):
            found.pop(0).unlink(missing_ok=True)
            sizes.pop(0)


def _write(fd: int, data: bytes, at: int) -> None:
    """All of it, from there on."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], at + done)


def _closed(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(OPEN) + CLOSED)


def _through(folder: Path) -> None:
    """The name, too, outlives a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
