"""A value made of files, such as a certificate and its key, that follows the files.

The content is compared, not times or inodes, so that it makes no difference how files are replaced:
written over, renamed into place, or by the swapped link of a mounted Secret. Files that make no
valid value leave the last good one in force and are said to be a problem, until they make one.
"""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from controlplane.errors import ConfigurationError, StartupError
from controlplane.xds.status import Reload

MAX_BYTES = 1024 * 1024
"""Of one file."""

T = TypeVar("T")
Make = Callable[[Sequence[bytes]], T]


class Reloaded(Generic[T]):
    """The value that is in force. May be looked at from any thread."""

    def __init__(self, what: str, paths: Sequence[Path], make: Make[T]) -> None:
        """`make` gets the content of the paths and raises `ConfigurationError` if it is not good.

        Raises `StartupError` when there is no good value to begin with.
        """
        self.what = what
        """A short stable word for metrics: `tls`, `jwt`."""
        self._paths = tuple(paths)
        self._make = make
        self._lock = threading.Lock()
        try:
            self._seen: tuple[bytes, ...] | None = self._read()
            self.value = make(self._seen)
        except ConfigurationError as error:
            raise StartupError(str(error)) from error
        self.problem = ""
        """Why the files as they are now are not in force; empty when they are."""
        self.taken = 0
        """How often new content took the place of the old."""

    def look(self, *, again: bool = False) -> T:
        """The value of the files as they are now, or else the last good one.

        Content that was refused is judged once more with `again`: a certificate that is not valid
        yet will be.
        """
        with self._lock:
            try:
                content = self._read()
                if content != self._seen or (again and self.problem):
                    self._take(content)
                elif not self.problem:
                    return self.value
            except ConfigurationError as error:
                self._seen, self.problem = None, str(error)
            return self.value

    def _take(self, content: tuple[bytes, ...]) -> None:
        self._seen = content
        try:
            value = self._make(content)
        except ConfigurationError as error:
            second = self._read()  # one file of several may have been replaced between two reads
            if second == content:
                self.problem = str(error)
                return
            value, self._seen = self._make(second), second
        self.value, self.problem = value, ""
        self.taken += 1

    def _read(self) -> tuple[bytes, ...]:
        return tuple(_content(path) for path in self._paths)


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(f"{path}: not a file; name a PEM file that Weir may read")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror or error}); name a file that Weir may read"
        ) from error
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{path}: larger than {MAX_BYTES} bytes; is it the right file?")
    return content


async def keep_fresh(
    files: Sequence[Reloaded[Any]], tell: Callable[[Reload], None], period_s: float
) -> None:
    """Look at the files every so often, and tell what became of them. Runs until cancelled."""
    told = {one.what: (one.taken, one.problem) for one in files}
    while True:
        await asyncio.sleep(period_s)
        for one in files:
            await asyncio.to_thread(one.look, again=True)
            now = (one.taken, one.problem)
            if now != told[one.what]:
                told[one.what] = now
                tell(Reload(one.what, one.problem))
