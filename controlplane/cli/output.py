"""Tables for people, JSON for machines."""

from __future__ import annotations

from enum import StrEnum


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"
