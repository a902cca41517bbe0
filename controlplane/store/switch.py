"""The kill switch: files in the state folder. While one is there, nothing is changed.

`frozen` stops every service, `frozen-services/<name>` one of them (the name percent-encoded). What
a file says is the reason; an empty one, made with `touch`, works as well. It is latched: nothing
but a person takes a file away (`weir resume`, or rm), not a restart, not a recovery. It needs no
database, no API and no network, and looking costs two stat calls.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote, unquote

from controlplane.errors import StoreError, WeirError
from controlplane.model import ServiceName, cluster_of

ALL = ServiceName("*")
"""Stands for every service."""
_MOST_BYTES = 4096
_MOST_SERVICES = 10_000


@dataclass(frozen=True, slots=True)
class Switched:
    """What is frozen now, and why."""

    all: str | None = None
    services: Mapping[ServiceName, str] = field(default_factory=lambda: MappingProxyType({}))

    def why(self, service: ServiceName) -> str | None:
        """Why this service is frozen, or the one that it is a part of; None when neither is."""
        if self.all is not None:
            return self.all
        return self.services.get(service, self.services.get(cluster_of(service)))


class KillSwitch:
    """The switch of one state folder. Several processes may use the same folder."""

    def __init__(self, folder: Path) -> None:
        self._all = folder / "frozen"
        self._each = folder / "frozen-services"
        self._folder = folder
        self._seen: tuple[object, object] | None = None
        self._read = Switched()
        self._unwritten: dict[ServiceName, str] = {}
        self.trouble = ""
        """Why the files could not be looked at in the last `look`; empty when they could."""

    def look(self) -> Switched:
        """What is frozen now. Cheap: for every tick.

        A folder that is gone or cannot be looked at changes nothing: what was frozen stays frozen.
        """
        try:
            seen = (_mark(self._all), _mark(self._each))
            if self._read != Switched() and not self._folder.is_dir():
                raise FileNotFoundError(f"{self._folder} is gone")  # nobody resumed by that
            if seen != self._seen:
                self._read, self._seen = self._read_files(), seen
            self.trouble = ""
        except OSError as error:
            self.trouble = f"the kill switch cannot be read: {error}"
        if not self._unwritten:
            return self._read
        services = {**self._read.services, **self._unwritten}
        everything = services.pop(ALL, None)
        return Switched(self._read.all if self._read.all is not None else everything, services)

    def freeze(self, reason: str, by: str, service: ServiceName = ALL) -> None:
        """Stop all changes of a service, or of all.

        Raises `StoreError` when it could not be written down. It is in force in this process even
        then, but not after a restart.
        """
        text = _clean(f"{reason or 'no reason given'} (by {by or 'unknown'})")
        self._unwritten[service] = text
        try:
            self._write(self._path(service), text)
        except OSError as error:
            raise StoreError(
                f"frozen in this process, but it could not be written down and a restart would "
                f"forget it: {error}"
            ) from error
        del self._unwritten[service]

    def resume(self, service: ServiceName = ALL) -> bool:
        """Let changes happen again; whether it was frozen.

        Resuming one service does not lift a freeze of all. Raises `StoreError`, and stays frozen,
        when the file cannot be taken away.
        """
        path = self._path(service)
        try:
            path.unlink()
            found = True
        except FileNotFoundError:
            found = False
        except OSError as error:
            raise StoreError(f"still frozen: {path} cannot be removed: {error}") from error
        found |= (self._read.all is not None) if service == ALL else service in self._read.services
        others = {n: why for n, why in self._read.services.items() if n != service}
        self._read = Switched(None if service == ALL else self._read.all, others)
        self._seen = None  # look again
        return self._unwritten.pop(service, None) is not None or found

    def let_go(self, service: ServiceName = ALL) -> tuple[str, ...]:
        """Resume it; what is still frozen after that, "all services" among it.

        Raises `WeirError` where it was not frozen, and says what is.
        """
        if not self.resume(service):
            frozen = _names(self.look())
            what = "all services are" if service == ALL else f"{service} is"
            rest = f"frozen are: {', '.join(frozen)}" if frozen else "nothing is"
            raise WeirError(f"{what} not frozen; {rest}")
        return _names(self.look())

    def _path(self, service: ServiceName) -> Path:
        return self._all if service == ALL else self._each / quote(service, safe="")

    def _write(self, path: Path, text: str) -> None:
        """All of it or nothing: to a file beside it, then renamed."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=self._folder, prefix=".frozen-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise

    def _read_files(self) -> Switched:
        services: dict[ServiceName, str] = {}
        if _mark(self._each) is not None:
            with os.scandir(self._each) as entries:
                for entry in entries:
                    if len(services) >= _MOST_SERVICES:
                        break
                    name = ServiceName(unquote(entry.name))
                    services[name] = _words(Path(entry.path))
        everything = _words(self._all) if _mark(self._all) is not None else None
        return Switched(everything, MappingProxyType(services))


def _names(now: Switched) -> tuple[str, ...]:
    return (*(["all services"] if now.all is not None else []), *sorted(now.services))


def _mark(path: Path) -> tuple[int, ...] | None:
    """Changes when what is at `path` changes; None when nothing is there."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _words(path: Path) -> str:
    """The reason in a file. It freezes whatever it says, also when it cannot be read."""
    try:
        with open(path, "rb") as file:
            text = _clean(file.read(_MOST_BYTES).decode(errors="replace"))
    except OSError as error:
        return f"{path.name} is there but cannot be read: {error.strerror}"
    return text or f"{path.name} is there, without a reason"


def _clean(text: str) -> str:
    """One line of printable text, bounded."""
    line = " ".join(text.split())
    return "".join(c for c in line if c.isprintable())[:500]
