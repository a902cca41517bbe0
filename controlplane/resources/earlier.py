"""Last valid versions of what is refused: which of those that are known is in force. Pure.

Processes that serve the same may know different ones: one was not there while a version was valid,
another missed it. They tell each other (`replicas.refused`), and what is in force is by a rule that
does not ask who came first, so that all of them end with the same:

- only of a document that is listed here, and refused here, and of that very object: one of the same
  name that was created later has none of its versions;
- the newest by the version that the API server counts, which is one count for all of a kind
  (KEP-5504: promised since Kubernetes 1.35, and so before); where that is the same or not known,
  that of whoever decides, and ours against anybody else's;
- only what the checks of every document let through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from controlplane.resources.check import check
from controlplane.resources.load import Loaded, load
from controlplane.resources.read import MAX_FILE_BYTES

MOST_BYTES = 16 * 1024 * 1024
"""Of all that is told, and of all that is remembered of what others told."""

Documents = Mapping[str, bytes]
"""By what problems call them."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A version that was valid."""

    document: bytes
    version: int = 0
    """By the count of the API server; 0: not known, as it was kept over a start."""


@dataclass(frozen=True, slots=True)
class Said:
    """What another process has of a document."""

    earlier: Earlier
    leads: bool
    """Whether that process was the one that decides."""

    def wins(self, ours: Earlier | None) -> bool:
        """Whether it is to be in force in the place of ours; it may be the same document, and more
        is known of its version."""
        if ours is None or self.earlier.version > ours.version:
            return True
        return self.leads and self.earlier.version == ours.version


class Heard:
    """What others said last of each document, up to a size: beyond that nothing new is taken."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._said: dict[str, Said] = {}
        self._size = 0
        self._news = False

    def hear(self, told: Mapping[str, Earlier], *, leads: bool) -> list[str]:
        """Remember what is newer. Those for which there was no room."""
        left_out: list[str] = []
        for name, earlier in told.items():
            said, before = Said(earlier, leads), self._said.get(name)
            if before == said or (before is not None and before.earlier.version > earlier.version):
                continue
            if before is not None and before.earlier.version == earlier.version and not leads:
                continue
            size = self._size + _size(name, said) - _size(name, before)
            if size > self._most:
                left_out.append(name)
                continue
            self._said[name], self._size, self._news = said, size, True
        return left_out

    def forget(self, said: Mapping[str, Said]) -> None:
        """Nobody needs these any more; what was heard instead of them meanwhile stays."""
        for name, one in said.items():
            if self._said.get(name) == one:
                del self._said[name]
                self._size -= _size(name, one)

    @property
    def news(self) -> bool:
        """Whether something was heard since `said` was called."""
        return self._news

    def said(self) -> dict[str, Said]:
        """All of it."""
        self._news = False
        return dict(self._said)


def _size(name: str, said: Said | None) -> int:
    return len(name) + len(said.earlier.document) if said is not None else 0


@dataclass(frozen=True, slots=True)
class InForce:
    """What is in force, with the last valid version of each document that is refused."""

    loaded: Loaded
    earlier: Mapping[str, Earlier] = field(default_factory=dict)
    """Of those that have one."""
    unusable: frozenset[str] = frozenset()
    """What others said that is none."""


def refused(loaded: Loaded) -> frozenset[str]:
    """What problems call the documents that are refused."""
    return frozenset(one.file for one in loaded.refusals)


def stayed(
    loaded: Loaded, before: Callable[[str], Earlier | None], earlier: Mapping[str, Earlier]
) -> dict[str, Earlier]:
    """Of the documents that are refused, the version that stayed in force: `before` is what stood
    there in the pass before, `earlier` those that were refused in it too."""
    found: dict[str, Earlier] = {}
    for name in refused(loaded):
        kind, _, key = name.partition("/")
        valid = earlier.get(name) or before(name)
        if valid is not None and key in loaded.declared.by_kind.get(kind, {}):
            found[name] = valid
    return found


def in_force(
    loaded: Loaded,
    documents: Documents,
    ours: Mapping[str, Earlier],
    said: Mapping[str, Said],
    policies: Collection[str] | None = None,
) -> InForce:
    """With the best version of each refused document, of ours and of what others said. `loaded` is
    what these documents came to, `ours` what stayed in force there."""
    listed = {name: documents[name] for name in refused(loaded) if name in documents}
    others = {name for name in listed if name in ours and not _same(ours[name], listed[name])}
    stay = {name: one for name, one in ours.items() if name not in others}
    if others:
        without = {name: one for name, one in documents.items() if name not in others}
        loaded = load(load(loaded, without, policies), documents, policies)
    best = {
        name: said[name].earlier
        for name, document in listed.items()
        if name in said
        and said[name].wins(stay.get(name))
        and said[name].earlier.document != document
        and _same(said[name].earlier, document)
    }
    instead = {
        name: one.document
        for name, one in best.items()
        if name not in stay or stay[name].document != one.document
    }
    unusable = {name for name, one in instead.items() if not _usable(name, one, policies)}
    for name in unusable:
        del best[name], instead[name]
    if instead:
        loaded = load(load(loaded, {**documents, **instead}, policies), documents, policies)
    return InForce(loaded, {**stay, **best}, frozenset(unusable))


def offered(earlier: Mapping[str, Earlier], most_bytes: int = MOST_BYTES) -> dict[str, Earlier]:
    """Those that others are told, in the order of their names: as many as there is room for."""
    found: dict[str, Earlier] = {}
    for name in sorted(earlier):
        most_bytes -= len(name) + len(earlier[name].document)
        if most_bytes < 0:
            break
        found[name] = earlier[name]
    return found


def _same(earlier: Earlier, listed: bytes) -> bool:
    """Whether both are versions of one object: a later one of its name was created later."""
    return _created(earlier.document) == _created(listed)


def _created(document: bytes) -> object:
    try:
        return json.loads(document)["metadata"].get("creationTimestamp")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return document  # of no object


def _usable(name: str, document: bytes, policies: Collection[str] | None) -> bool:
    """Whether it is one valid document, and of that name."""
    if len(document) > MAX_FILE_BYTES or b"\n" in document or not document.startswith(b"{"):
        return False
    try:
        outcome = check(document.decode(), policies)
    except UnicodeDecodeError:
        return False
    if outcome is None or outcome.document is None or outcome.key is None:
        return False
    return f"{outcome.key.kind}/{outcome.key.name}" == name
