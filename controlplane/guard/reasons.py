"""The codes of the guard. docs/guard.md explains each in a table; a test compares the two."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Why a verdict is not simply what was proposed. Stable: alerts match on them."""

    STARTED = "started"
    RESUMED = "resumed"
    FROZEN = "frozen"
    REFUSED = "refused"
    GROUPING = "grouping"
    SUSPECT = "suspect"
    COVERAGE = "coverage"
    MISSING = "missing"
    STALE = "stale"
    DECAYING = "decaying"
    BASELINE = "baseline"
    RECOVERING = "recovering"
    FILLED = "filled"
    BLACK_HOLE = "black-hole"
    WARMING = "warming"
    CROWD = "crowd"
    BOUNDED = "bounded"
    STEPPED = "stepped"
    SICK = "sick"
    RELIEVED = "relieved"
    HELD = "held"
    SPACED = "spaced"
    ENDPOINTS = "endpoints"
    REGROUPED = "regrouped"
