"""What replicas tell each other of documents that are refused: the last valid version of each.

Whoever decides tells all that it has, and those that follow tell it what it has not said itself; so
one that is new knows them before it serves, and so does the next one that decides. Each says a
version once on a stream; what is gone is not told: whether a version is still of use follows from
what is listed (`resources.earlier`), which every replica sees for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from controlplane.replicas.messages import Refused
from controlplane.resources.earlier import MOST_BYTES, Earlier

PART = 256 * 1024
"""Bytes of documents in one message, about; one document may be larger."""


class Shared(Protocol):
    """Who knows last valid versions; the source of documents is one."""

    @property
    def offered(self) -> Mapping[str, Earlier]:
        """Those that others are told; never changed, but another one when something did."""
        ...

    def hear(self, told: Mapping[str, Earlier], *, leads: bool) -> None:
        """Others have these. `leads`: whoever decides does."""
        ...


class WithoutSecrets:
    """The same where anybody of this machine may be the other end."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    @property
    def offered(self) -> Mapping[str, Earlier]:
        """Without those of Secrets."""
        return _without(self._shared.offered)

    def hear(self, told: Mapping[str, Earlier], *, leads: bool) -> None:
        """Of Secrets nothing is believed either."""
        self._shared.hear(_without(told), leads=leads)


def _without(earlier: Mapping[str, Earlier]) -> Mapping[str, Earlier]:
    return {name: one for name, one in earlier.items() if not name.startswith("Secret/")}


class Telling:
    """What is told on one stream."""

    def __init__(self) -> None:
        self._told: dict[str, Earlier] = {}
        self._known: dict[str, Earlier] = {}
        self._size = 0

    def heard(self, told: Mapping[str, Earlier]) -> None:
        """The other end has these. What is too much to remember is told once more."""
        self._size += sum(len(name) + len(one.document) for name, one in told.items())
        if self._size > MOST_BYTES:
            self._known, self._size = {}, 0
        self._known.update(told)

    def parts(self, offered: Mapping[str, Earlier]) -> Iterator[tuple[Refused, ...]]:
        """What is new since the last time and not known there, in messages."""
        part: list[Refused] = []
        size = 0
        self._told = {name: one for name, one in self._told.items() if name in offered}
        for name, one in offered.items():
            if self._told.get(name) == one or self._is_known(name, one):
                continue
            self._told[name] = one
            part.append(Refused(name, one.document, one.version))
            size += len(one.document)
            if size > PART:
                yield tuple(part)
                part, size = [], 0
        if part:
            yield tuple(part)

    def _is_known(self, name: str, one: Earlier) -> bool:
        known = self._known.get(name)
        same = known is not None and known.document == one.document
        return same and known is not None and known.version >= one.version


def earlier(told: Iterable[Refused]) -> dict[str, Earlier]:
    """As it came."""
    return {one.file: Earlier(one.document, max(0, one.version)) for one in told}
