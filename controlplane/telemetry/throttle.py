"""Few lines in the log of what may happen thousands of times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Kind:
    began_s: float
    told: int = 0
    left_out: int = 0


class Throttle:
    """Admits so many of each kind in a window; how many were left out is told by the next.

    >>> throttle = Throttle(most=2, window_s=10.0)
    >>> [throttle.admit("nack", at_s) for at_s in (0.0, 1.0, 2.0, 3.0, 10.5)]
    [0, 0, None, None, 2]
    """

    def __init__(self, most: int = 20, window_s: float = 10.0) -> None:
        """The kinds must be few: each is remembered."""
        self._most = most
        self._window_s = window_s
        self._kinds: dict[str, _Kind] = {}

    def admit(self, kind: str, now_s: float) -> int | None:
        """How many of this kind were left out since the last that was admitted; None: this too."""
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Kind(now_s)
        if now_s - known.began_s > self._window_s:
            known.began_s, known.told = now_s, 0
        if known.told >= self._most:
            known.left_out += 1
            return None
        known.told += 1
        left_out, known.left_out = known.left_out, 0
        return left_out
