"""One pass over all that is there: objects to files, files to what is in force. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from controlplane.kubernetes.objects import Held
from controlplane.kubernetes.referred import HOLDERS, Referred
from controlplane.resources.declared import ObjectKey
from controlplane.resources.earlier import Earlier, Said, in_force, refused, stayed
from controlplane.resources.load import Loaded, load

_ROUNDS = 3
"""An object may refer to a Secret, and be in force by what others said, and so may the Secret."""
_DIGITS = 18
"""Of a version that is a number: it travels in 64 bits."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What was found out."""

    loaded: Loaded = field(default_factory=Loaded)
    files: Mapping[str, bytes] = field(default_factory=dict)
    holders: frozenset[ObjectKey] = frozenset()
    """The Secrets and ConfigMaps that are meant: who refers to them is known when it is read."""
    earlier: Mapping[str, Earlier] = field(default_factory=dict)
    """Of what is refused, the version that is in force."""
    held: Mapping[ObjectKey, Held] = field(default_factory=dict)
    """The objects that the files are of."""
    past: frozenset[str] = frozenset()
    """Of what others said, that which is of no more use."""
    unusable: frozenset[str] = frozenset()
    """Of what others said, that which is no last valid version."""

    def differs(self, before: Pass) -> bool:
        """Whether anything else is in force, or wrong, than was before."""
        return self.files != before.files or self.kept() != before.kept()

    def kept(self) -> dict[str, bytes]:
        """The documents of `earlier`."""
        return {file: one.document for file, one in self.earlier.items()}

    def stood(self, file: str) -> Earlier | None:
        """What the file held."""
        document = self.files.get(file)
        return Earlier(document, _version(self.held, file)) if document is not None else None


def files_of(held: Mapping[ObjectKey, Held], holders: Collection[ObjectKey]) -> dict[str, bytes]:
    """One for each object; of Secrets and ConfigMaps those alone that are referred to."""
    return {
        one.file: one.document
        for key, one in held.items()
        if key.kind not in HOLDERS or key in holders
    }


def look(
    before: Pass,
    held: Mapping[ObjectKey, Held],
    said: Mapping[str, Said],
    referred: Referred,
    policies: Collection[str] | None = None,
) -> Pass:
    """The next pass. `said`: last valid versions that other replicas have."""
    loaded, earlier, holders = before.loaded, before.earlier, before.holders
    files, unusable = dict[str, bytes](), frozenset[str]()
    for _ in range(_ROUNDS):
        files = files_of(held, holders)
        loaded = load(loaded, files, policies)
        found = in_force(loaded, files, stayed(loaded, before.stood, earlier), said, policies)
        loaded, earlier, unusable = found.loaded, found.earlier, unusable | found.unusable
        meant = referred.by(loaded.declared)
        if not any(key in held for key in meant ^ holders):
            holders = meant
            break
        holders = meant
    past = frozenset(_past(said, before, held, files, refused(loaded)))
    return Pass(loaded, files, holders, earlier, held, past, unusable)


def _past(
    said: Mapping[str, Said],
    before: Pass,
    held: Mapping[ObjectKey, Held],
    files: Collection[str],
    troubled: Collection[str],
) -> Iterator[str]:
    """That of objects that are gone, or valid in a version of later."""
    for file, one in said.items():
        key = _key(file)
        if key not in held:
            if key in before.held:
                yield file
        elif file in files and file not in troubled and _version(held, file) >= one.earlier.version:
            yield file


def _key(file: str) -> ObjectKey:
    kind, _, name = file.partition("/")
    return ObjectKey(kind, name)


def _version(held: Mapping[ObjectKey, Held], file: str) -> int:
    """By the count of the API server; 0 where that is none."""
    one = held.get(_key(file))
    counted = one is not None and one.version.isdecimal() and len(one.version) <= _DIGITS
    return int(one.version) if one is not None and counted else 0
