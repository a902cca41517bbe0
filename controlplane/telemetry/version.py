"""Which Weir this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The version of the installed distribution."""
    try:
        return metadata.version("weir")
    except metadata.PackageNotFoundError:
        return "unknown"
