"""Files to `Declared` and problems. Pure: what is on the disk comes in as an argument.

What is refused leaves the last valid version of that object in force, and the other documents load.
Where there is none, and it may be what keeps strangers out, whoever it is for is refused.
Where a refused document does not even say what it is, or is of an object that was not there,
whatever its file held before and nobody declares now stays too: a typing error never removes a
service, not even one in its name. A file that is gone, or a document
taken out of a file that is otherwise well, is a removal on purpose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from controlplane.resources.check import Outcome, check
from controlplane.resources.declared import Declared, ObjectKey, Source, Unkept
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
    services: ServiceBackends = field(default_factory=ServiceBackends, repr=False)
    """What Services became, for the same reason."""
    stale: str = ""
    """Why what is in force may be older than what people declare; empty where it is not."""


@dataclass(slots=True)
class _Reading:
    """What all files hold together."""

    previous: Declared
    problems: list[Problem] = field(default_factory=list)
    valid: dict[ObjectKey, list[tuple[Document, Source]]] = field(default_factory=dict)
    refused: set[ObjectKey] = field(default_factory=set)
    unkept: list[tuple[ObjectKey, Unkept]] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)

    def add(self, file: _File) -> None:
        """One more file."""
        self.problems += file.problems
        self.refused |= file.refused
        self.unkept += file.unkept
        if file.doubtful or not file.refused <= self.previous.sources.keys():
            self.doubtful.add(file.name)
        for key, document, source in file.valid:
            self.valid.setdefault(key, []).append((document, source))

    def choose(self) -> dict[ObjectKey, tuple[Document, Source]]:
        """The object in force for each key."""
        held = self.previous.objects()
        chosen: dict[ObjectKey, tuple[Document, Source]] = {}
        for key, found in self.valid.items():
            before = self.previous.sources.get(key)
            document, source = found[0]
            if len(found) > 1 and before is not None:
                document, source = next((o for o in found if o[1].file == before.file), found[0])
            same = held.get(key)
            if same is not None and same is not document and same == document:
                document = same
            chosen[key] = (document, source)
            if len(found) > 1:
                self._report_twice(key, source, found)
        for key, document in held.items():
            source = self.previous.sources[key]
            if key not in chosen and (key in self.refused or source.file in self.doubtful):
                chosen[key] = (document, source)
        return chosen

    def never_valid(self, chosen: Collection[ObjectKey]) -> dict[ObjectKey, Unkept]:
        """Those that are refused, and of which no valid version is in force."""
        held = self.previous.unkept.items()
        found = dict(one for one in held if one[1].source.file in self.doubtful)
        found |= dict(self.unkept)
        return {key: one for key, one in found.items() if key not in chosen}

    def _report_twice(
        self, key: ObjectKey, source: Source, found: list[tuple[Document, Source]]
    ) -> None:
        for _, other in found:
            if other != source:
                self.problems.append(
                    Problem(
                        other.file,
                        other.lines["metadata.name"],
                        "metadata.name",
                        f"declared already at {source.file}:{source.line}, which is in force",
                        "remove one of the two, or give it another name",
                        str(key),
                    )
                )


def load(previous: Loaded, files: Files, policies: Collection[str] | None = None) -> Loaded:
    """Read these files. `policies` are the names that exist; None: they are not checked."""
    names = frozenset(policies) if policies is not None else None
    known = previous.read if previous.policies == names else {}
    memo = {text: one for file in known.values() for text, one in file.outcomes.items()}
    reading, read = _Reading(previous.declared), dict[str, _File]()
    for name in sorted(files):
        before, content = known.get(name), files[name]
        if before is None or isinstance(content, OSError) or before.content != content:
            before = _File(name, content).read(memo, names)
        read[name] = before
        reading.add(before)
    chosen = reading.choose()
    chosen |= previous.services.of(chosen)
    unkept = reading.never_valid(chosen)
    declared = Declared.of(chosen, previous.declared, unkept)
    causes = sorted(reading.problems)
    refused = {one.object: one for one in reversed(causes) if one.object}
    consequences = sorted([*reference_problems(declared, refused), *map(_told, unkept.items())])
    problems = (*causes, *consequences)
    return Loaded(declared, problems, tuple(causes), names, read, previous.services)


def _told(one: tuple[ObjectKey, Unkept]) -> Problem:
    key, unkept = one
    place = unkept.source
    advice = "mend its document, or take it out"
    return Problem(
        place.file, place.line, "spec.targetRefs", unkept.message, advice, object=str(key)
    )
