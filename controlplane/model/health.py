"""Whether Envoys that got something new are well."""

from __future__ import annotations

from enum import StrEnum


class Health(StrEnum):
    """What a look at some Envoys says."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"
    """No numbers: wait, and give up after some of these in a row."""
