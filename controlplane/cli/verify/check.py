"""One look at an installation, and what it showed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How it is."""

    OK = "OK"
    WARN = "WARN"
    """It works, and somebody should look at it; or it could not be looked at."""
    FAIL = "FAIL"
    """It does not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one look showed."""

    name: str
    """A short stable word, for programs."""
    state: State
    message: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


def ok(name: str, message: str) -> Check:
    """It is as it should be."""
    return Check(name, State.OK, message)


def warn(name: str, message: str, advice: str) -> Check:
    """Somebody should look at it."""
    return Check(name, State.WARN, message, advice)


def fail(name: str, message: str, advice: str) -> Check:
    """It does not work."""
    return Check(name, State.FAIL, message, advice)


def some(found: Iterable[str], most: int = 5) -> str:
    """The first of them, and how many more there are.

    >>> some(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    every = list(found)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
