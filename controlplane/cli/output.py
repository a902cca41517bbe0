"""Tables for people, JSON (or YAML) for machines."""

from __future__ import annotations

from enum import StrEnum


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"


class Detailed(StrEnum):
    """What `--output` takes where whole resources are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
