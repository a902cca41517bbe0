"""Answers worked out for one set of resources, for all streams, within bounds of number and bytes.

What clients ask for decides how many answers there are and how large they are, so neither may be
theirs to choose: the oldest are forgotten, and worked out again when somebody needs them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

KEPT = 8192
KEPT_BYTES = 32 * 1024 * 1024


class Wire:
    """The response that a step was last written as (see `envelope`).

    One, for streams that differ in their nonce alone differ in its last few bytes.
    """

    __slots__ = ("kept", "nonce", "raw")

    def __init__(self) -> None:
        self.kept = False
        """Whether other streams may be sent the same."""
        self.nonce = ""
        self.raw = b""

    def forget(self) -> None:
        """No other stream finds the step any more."""
        self.kept, self.nonce, self.raw = False, "", b""


class Memo:
    """From a position to its answer. The newest stays, however large it is.

    >>> memo = Memo(most_bytes=100)
    >>> memo.keep("a", 1, 60)
    >>> memo.keep("b", 2, 60)
    >>> memo.get("a"), memo.get("b"), memo.size
    (None, 2, 60)
    """

    def __init__(self, *, most: int = KEPT, most_bytes: int = KEPT_BYTES) -> None:
        """With `most=0` nothing is kept."""
        self._most = most
        self._most_bytes = most_bytes
        self._known: dict[Hashable, Any] = {}
        self._sizes: dict[Hashable, int] = {}
        self._wires: dict[Hashable, Wire] = {}
        self.size = 0
        """About the bytes of what is kept."""
        self.get = self._known.get

    def keep(self, key: Hashable, answer: object, size: int, wire: Wire | None = None) -> None:
        """Remember an answer that takes about this many bytes, and what it is written as."""
        if not self._most or key in self._known:
            return
        while self._sizes and (
            len(self._sizes) >= self._most or self.size + size > self._most_bytes
        ):
            self._drop(next(iter(self._sizes)))
        self._known[key] = answer
        self._sizes[key] = size
        self.size += size
        if wire is not None:
            wire.kept = True
            self._wires[key] = wire

    def __len__(self) -> int:
        return len(self._known)

    def clear(self) -> None:
        """Nobody will ask any more."""
        for key in tuple(self._sizes):
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        self.size -= self._sizes.pop(key)
        del self._known[key]
        wire = self._wires.pop(key, None)
        if wire is not None:
            wire.forget()
