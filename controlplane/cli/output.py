"""Tables for people, JSON (or YAML) for machines."""

from __future__ import annotations

import os
import sys
from enum import StrEnum

from rich.console import Console

_WIDE = 10_000


def console() -> Console:
    """Where tables are printed: as wide as the terminal, and in a pipe as wide as they are."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_WIDE if piped else None)


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"


class Written(StrEnum):
    """What `--output` takes where there is no table."""

    JSON = "json"
    YAML = "yaml"


class Detailed(StrEnum):
    """What `--output` takes where whole resources are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
