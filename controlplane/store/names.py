"""Addresses of names, kept over a restart: a name server that is down then removes nothing.

One small JSON file, written whole and renamed. Reading believes nothing in it: what is not a list
of IP addresses is left out.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from controlplane.errors import StoreError

_MOST_BYTES = 16 * 1024 * 1024


class NameFile:
    """`names.json` in the state folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "names.json"

    def load(self) -> dict[str, tuple[str, ...]]:
        """Host name -> addresses; empty when there is no file, or none that can be read."""
        try:
            with open(self._path, "rb") as file:
                found = json.loads(file.read(_MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {
            host: tuple(addresses)
            for host, addresses in found.items()
            if isinstance(addresses, list) and addresses and all(map(_is_address, addresses))
        }

    def save(self, names: Mapping[str, tuple[str, ...]]) -> None:
        """All of it or nothing. Raises `StoreError`."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(dir=self._path.parent, prefix=".names-")
            try:
                with os.fdopen(handle, "w") as file:
                    json.dump(dict(sorted(names.items())), file, indent=0)
                os.replace(beside, self._path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(beside)
                raise
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror or error}") from error


def _is_address(value: object) -> bool:
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return isinstance(value, str)
