"""Where documents come from: a folder, or the API of Kubernetes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from pathlib import Path
from typing import Protocol

from controlplane.resources.load import Loaded
from controlplane.resources.watch import watch_folder


class DocumentSource(Protocol):
    """Follows what people declare."""

    def watch(self, policies: Collection[str] | None = None) -> AsyncGenerator[Loaded]:
        """First what is there, then one `Loaded` each time something else is in force or wrong.
        `policies` are the names that exist; None: they are not checked."""
        ...


class Folder:
    """The YAML of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def watch(self, policies: Collection[str] | None = None) -> AsyncGenerator[Loaded]:
        """See `watch_folder`."""
        return watch_folder(self._folder, policies)
