"""Files to `Declared` and problems. Pure: what is on the disk comes in as an argument.

What is refused leaves the last valid version of that object in force, and the other documents load.
Where there is none, and it may be what keeps strangers out, whoever it is for is refused.
Where a refused document does not even say what it is, or is of an object that was not there,
whatever its file held before and nobody declares now stays too: a typing error never removes a
service, not even one in its name. A file that is gone, or a document
taken out of a file that is otherwise well, is a removal on purpose.

Files that are as they were cost a comparison of their content; what follows from them is kept
(`index`), so that all else costs what changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from controlplane.resources.check import Outcome, check
from controlplane.resources.declared import Changes, Declared, ObjectKey, Source, Unkept
from controlplane.resources.kinds import Document
from controlplane.resources.problems import Problem
from controlplane.resources.read import MAX_DOCUMENTS, MAX_FILE_BYTES, Chunk, split
from controlplane.resources.references import reference_problems
from controlplane.resources.service_backends import ServiceBackends

Files = Mapping[str, bytes | OSError]
"""Content by file name; an error where it could not be read."""

_Memo = Mapping[str, Outcome | None]


@dataclass(slots=True, eq=False)
class _File:
    """What one file holds."""

    name: str
    content: bytes | OSError
    outcomes: dict[str, Outcome | None] = field(default_factory=dict)
    """By the text of the document."""
    problems: list[Problem] = field(default_factory=list)
    valid: list[tuple[ObjectKey, Document, Source]] = field(default_factory=list)
    refused: set[ObjectKey] = field(default_factory=set)
    unkept: list[tuple[ObjectKey, Unkept]] = field(default_factory=list)
    doubtful: bool = False
    """It holds something which nobody could tell what it is."""

    def read(self, memo: _Memo, policies: frozenset[str] | None) -> _File:
        """All of its documents; those that are in `memo` cost next to nothing."""
        text = self._text()
        for count, chunk in enumerate(split(text)):
            if count >= MAX_DOCUMENTS:
                message = f"more than {MAX_DOCUMENTS} documents; the rest is left out"
                self._doubt(chunk.line, message, "split the file")
                break
            if chunk.text not in self.outcomes:
                known = chunk.text in memo
                outcome = memo[chunk.text] if known else check(chunk.text, policies)
                self.outcomes[chunk.text] = outcome
            self._take(chunk, self.outcomes[chunk.text])
        return self

    def _text(self) -> str:
        if isinstance(self.content, OSError):
            message = f"cannot be read: {self.content.strerror or self.content}"
            self._doubt(0, message, "give the user that Weir runs as leave to read it")
            return ""
        if len(self.content) > MAX_FILE_BYTES:
            self._doubt(0, f"larger than {MAX_FILE_BYTES} bytes", "split it")
            return ""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = self.content.count(b"\n", 0, error.start) + 1
            self._doubt(line, "not UTF-8 text", "save it in UTF-8")
            return ""

    def _doubt(self, line: int, message: str, advice: str = "") -> None:
        """Something of it cannot be read at all."""
        self.problems.append(Problem(self.name, line, "", message, advice))
        self.doubtful = True

    def _take(self, chunk: Chunk, outcome: Outcome | None) -> None:
        if outcome is None:
            return
        said = str(outcome.key) if outcome.key else ""
        for fault in outcome.faults:
            line = chunk.line + fault.line
            self.problems.append(
                Problem(self.name, line, fault.field, fault.message, fault.advice, said)
            )
        if outcome.document is not None and outcome.key is not None:
            lines = {field: chunk.line + line for field, line in outcome.lines.items()}
            place = Source(self.name, chunk.line + outcome.line, lines)
            self.valid.append((outcome.key, outcome.document, place))
        elif outcome.key is not None:
            self.refused.add(outcome.key)
        else:
            self.doubtful = True
        if outcome.unkept is not None:
            key, targets = outcome.unkept
            self.unkept.append((key, Unkept(Source(self.name, chunk.line + outcome.line), targets)))


_Candidates = tuple[tuple[Document, Source], ...]
_Change = tuple[Document, Source] | None
"""What an object is now; None: it went."""


@dataclass(frozen=True, slots=True, eq=False)
class _Index:
    """What files hold, by object."""

    valid: Mapping[ObjectKey, _Candidates] = field(default_factory=dict)
    """What is well of each object, in the order of files and lines."""
    several: frozenset[ObjectKey] = frozenset()
    """Those that are declared more than once."""
    troubled: Mapping[str, _File] = field(default_factory=dict)
    """The files that are not well."""

    def after(
        self, gone: Collection[_File], come: Iterable[_File]
    ) -> tuple[_Index, frozenset[ObjectKey]]:
        """With files instead of others, and the objects that these or those hold."""
        without = {file.name for file in gone}
        troubled = {name: one for name, one in self.troubled.items() if name not in without}
        found = {key: list[tuple[Document, Source]]() for file in gone for key, _, _ in file.valid}
        for file in come:
            if file.problems or file.refused or file.unkept or file.doubtful:
                troubled[file.name] = file
            for key, document, source in file.valid:
                found.setdefault(key, []).append((document, source))
        valid = dict(self.valid)
        for key, news in found.items():
            stay = (one for one in valid.pop(key, ()) if one[1].file not in without)
            if now := sorted((*stay, *news), key=lambda one: one[1].file):
                valid[key] = tuple(now)
        several = {key for key in found if len(valid.get(key, ())) > 1}
        touched = frozenset(found)
        return _Index(valid, (self.several - touched) | several, troubled), touched


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """What is in force, and what is not as it was written."""

    declared: Declared = field(default_factory=Declared)
    problems: tuple[Problem, ...] = ()
    """Causes before consequences: what is refused, then what leads nowhere."""
    refusals: tuple[Problem, ...] = ()
    """Those of them that are causes."""
    policies: frozenset[str] | None = None
    """The policies that the documents were checked against."""
    read: Mapping[str, _File] = field(default_factory=dict, repr=False)
    """The files by name, so that a reload costs what changed."""
    index: _Index = field(default_factory=_Index, repr=False)
    """What they hold, for the same reason."""
    kept: frozenset[ObjectKey] = frozenset()
    """The objects in force that no file has as they are."""
    services: ServiceBackends = field(default_factory=ServiceBackends, repr=False)
    """What Services became."""
    stale: str = ""
    """Why what is in force may be older than what people declare; empty where it is not."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is in force, of what files hold now and what was in force before."""

    previous: Declared
    index: _Index

    def of(self, key: ObjectKey) -> tuple[Document, Source]:
        """Of what is well of an object."""
        found, before = self.index.valid[key], self.previous.sources.get(key)
        chosen = found[0]
        if len(found) > 1 and before is not None:
            chosen = next((one for one in found if one[1].file == before.file), chosen)
        return chosen

    @property
    def doubtful(self) -> frozenset[str]:
        """The files of which nobody can tell what they hold."""
        return frozenset(
            name
            for name, file in self.index.troubled.items()
            if file.doubtful or not file.refused <= self.previous.sources.keys()
        )

    def kept(self, doubtful: Collection[str]) -> frozenset[ObjectKey]:
        """The objects that stay as they were, for what is well of them is not there."""
        sources, valid = self.previous.sources, self.index.valid
        refused = {key for file in self.index.troubled.values() for key in file.refused}
        stay = {key for key in refused if key in sources}
        if doubtful:
            stay.update(key for key, source in sources.items() if source.file in doubtful)
        return frozenset(key for key in stay if key not in valid)

    def never_valid(
        self, doubtful: Collection[str], kept: Collection[ObjectKey]
    ) -> dict[ObjectKey, Unkept]:
        """Those that are refused, and of which no valid version is in force."""
        held = self.previous.unkept.items()
        found = dict(one for one in held if one[1].source.file in doubtful)
        for _, file in sorted(self.index.troubled.items()):
            found |= dict(file.unkept)
        valid = self.index.valid
        return {key: one for key, one in found.items() if key not in valid and key not in kept}


def load(previous: Loaded, files: Files, policies: Collection[str] | None = None) -> Loaded:
    """Read these files. `policies` are the names that exist; None: they are not checked."""
    names = frozenset(policies) if policies is not None else None
    alike = previous.policies == names
    known = previous.read if alike else {}
    gone, come = _read(known, files, names)
    read = {name: one for name, one in known.items() if name in files}
    read.update((file.name, file) for file in come)
    index, touched = (previous.index if alike else _Index()).after(gone, come)
    choice = _Choice(previous.declared, index)
    doubtful = choice.doubtful
    kept = choice.kept(doubtful)
    unkept = choice.never_valid(doubtful, kept)
    if not alike:
        touched = touched.union(previous.index.valid)
    changes = dict(_changes(choice, touched | (previous.kept - kept), kept))
    services, made = previous.services.after(_others(changes, previous.declared))
    made = {key: _as_it_was(previous.declared, key, one) for key, one in made.items()}
    together = {
        key: one
        for key, one in {**changes, **made}.items()
        if one is not None or not (key in kept or services.has(key))
    }
    declared = previous.declared.after(together, unkept)
    causes = sorted(_causes(index, declared))
    refused = {one.object: one for one in reversed(causes) if one.object}
    consequences = sorted([*reference_problems(declared, refused), *map(_told, unkept.items())])
    problems = (*causes, *consequences)
    return Loaded(declared, problems, tuple(causes), names, read, index, kept, services)


def _read(
    known: Mapping[str, _File], files: Files, policies: frozenset[str] | None
) -> tuple[list[_File], list[_File]]:
    """The known files that are no more as they were, and those that are others now."""
    changed = [
        name
        for name, content in files.items()
        if (before := known.get(name)) is None
        or (before.content is not content and before.content != content)
        or isinstance(content, OSError)
    ]
    gone = [known[name] for name in (*changed, *(known.keys() - files.keys())) if name in known]
    memo = {text: one for file in gone for text, one in file.outcomes.items()}
    return gone, [_File(name, files[name]).read(memo, policies) for name in changed]


def _as_it_was(before: Declared, key: ObjectKey, now: _Change) -> _Change:
    """What becomes of an object. Where that is the same as before it is the very same."""
    same = before.get(key)
    return now if now is None or same is None or same != now[0] else (same, now[1])


def _changes(
    choice: _Choice, keys: Iterable[ObjectKey], kept: Collection[ObjectKey]
) -> Iterator[tuple[ObjectKey, _Change]]:
    """What becomes of these objects; those that are kept do not change."""
    for key in keys:
        if key in choice.index.valid:
            yield key, _as_it_was(choice.previous, key, choice.of(key))
        elif key not in kept:
            yield key, None


def _others(changes: Changes, before: Declared) -> Changes:
    """Without objects that merely stand elsewhere, but for Services: their Backends stand there."""
    return {
        key: one
        for key, one in changes.items()
        if one is None or key.kind == "Service" or before.get(key) is not one[0]
    }


def _causes(index: _Index, declared: Declared) -> Iterator[Problem]:
    """What is not as it was written."""
    for file in index.troubled.values():
        yield from file.problems
    for key in index.several:
        source = declared.sources[key]
        for _, other in index.valid[key]:
            if other != source:
                yield Problem(
                    other.file,
                    other.lines["metadata.name"],
                    "metadata.name",
                    f"declared already at {source.file}:{source.line}, which is in force",
                    "remove one of the two, or give it another name",
                    str(key),
                )


def _told(one: tuple[ObjectKey, Unkept]) -> Problem:
    key, unkept = one
    place = unkept.source
    advice = "mend its document, or take it out"
    return Problem(
        place.file, place.line, "spec.targetRefs", unkept.message, advice, object=str(key)
    )
