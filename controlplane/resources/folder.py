"""What is in the folder of documents: names, contents, and a fingerprint to tell a change by."""

from __future__ import annotations

from pathlib import Path

from controlplane.errors import ConfigurationError
from controlplane.resources.load import Files
from controlplane.resources.read import MAX_FILE_BYTES

MAX_FILES = 10_000
SUFFIXES = (".yaml", ".yml")

Fingerprint = tuple[tuple[str, int, int, int], ...]


def document_paths(folder: Path) -> list[Path]:
    """The *.yaml and *.yml of the folder itself, without dot-files. Raises `OSError`."""
    names = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    found = [path for path in names if not path.name.startswith(".")]
    if len(found) > MAX_FILES:
        raise OSError(f"more than {MAX_FILES} documents")
    return found


def fingerprint(folder: Path) -> Fingerprint:
    """Changes whenever a file does, also through the links of a mounted ConfigMap.

    Raises `OSError`.
    """
    out = []
    for path in document_paths(folder):
        try:
            stat = path.stat()
            out.append((path.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except OSError:
            out.append((path.name, 0, 0, 0))
    return tuple(out)


def read_folder(folder: Path) -> Files:
    """The contents, read until they held still meanwhile. Raises `OSError`."""
    for _ in range(5):
        before = fingerprint(folder)
        files: dict[str, bytes | OSError] = {}
        for path in document_paths(folder):
            try:
                with path.open("rb") as file:
                    files[path.name] = file.read(MAX_FILE_BYTES + 1)
            except OSError as error:
                files[path.name] = error
        if fingerprint(folder) == before:
            break
    return files


def require_folder(folder: Path) -> None:
    """Raises `ConfigurationError` where there is nothing to read from."""
    try:
        document_paths(folder)
    except OSError as error:
        raise ConfigurationError(
            f"folder {folder}: {error.strerror or error}; name a folder with *.yaml documents"
        ) from error
