"""Look at a folder without serving it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from controlplane.resources.folder import read_folder, require_folder
from controlplane.resources.load import Loaded, load


def validate_folder(folder: Path, policies: Collection[str] | None = None) -> Loaded:
    """What would be in force, and every problem. Raises `ConfigurationError` without a folder."""
    require_folder(folder)
    return load(Loaded(), read_folder(folder), policies)
