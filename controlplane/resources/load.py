"""Files to `Declared` and problems. Pure: what is on the disk comes in as an argument.

What is refused leaves the last valid version of that object in force, and the other documents load.
Where a refused document does not even say what it is, whatever its file held before and nobody
declares now stays too: a typing error never removes a service. A file that is gone, or a document
taken out of a file that is otherwise well, is a removal on purpose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from controlplane.resources.check import Outcome, check
from controlplane.resources.declared import Declared, ObjectKey, Source
from controlplane.resources.kinds import Document
from controlplane.resources.problems import Problem
from controlplane.resources.read import MAX_DOCUMENTS, MAX_FILE_BYTES, Chunk, split
from controlplane.resources.references import reference_problems

Files = Mapping[str, bytes | OSError]
"""Content by file name; an error where it could not be read."""

_Memo = Mapping[str, Outcome | None]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """What is in force, and what is not as it was written."""

    declared: Declared = field(default_factory=Declared)
    problems: tuple[Problem, ...] = ()
    memo: _Memo = field(default_factory=dict, repr=False)
    """Outcomes by the text of their document, so that a reload costs what changed."""
    policies: frozenset[str] | None = None
    """The policies that the outcomes were checked against."""


@dataclass(slots=True)
class _Reading:
    """One pass over the files."""

    previous: Declared
    policies: frozenset[str] | None
    memo: _Memo
    seen: dict[str, Outcome | None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    valid: dict[ObjectKey, list[tuple[Document, Source]]] = field(default_factory=dict)
    refused: set[ObjectKey] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    """Files that hold something which nobody could tell what it is."""

    def doubt(self, name: str, line: int, message: str, advice: str = "") -> None:
        """A file of which something cannot be read at all."""
        self.problems.append(Problem(name, line, "", message, advice))
        self.doubtful.add(name)

    def file(self, name: str, content: bytes | OSError) -> None:
        """All documents of one file."""
        if isinstance(content, OSError):
            self.doubt(name, 0, f"cannot be read: {content.strerror or content}")
            return
        if len(content) > MAX_FILE_BYTES:
            self.doubt(name, 0, f"larger than {MAX_FILE_BYTES} bytes", "split it")
            return
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.doubt(name, content.count(b"\n", 0, error.start) + 1, "not UTF-8 text")
            return
        for count, chunk in enumerate(split(text)):
            if count >= MAX_DOCUMENTS:
                message = f"more than {MAX_DOCUMENTS} documents; the rest is left out"
                self.doubt(name, chunk.line, message, "split the file")
                return
            self.document(name, chunk)

    def document(self, name: str, chunk: Chunk) -> None:
        """One document of a file."""
        if chunk.text in self.seen:
            outcome = self.seen[chunk.text]
        elif chunk.text in self.memo:
            outcome = self.memo[chunk.text]
        else:
            outcome = check(chunk.text, self.policies)
        self.seen[chunk.text] = outcome
        if outcome is None:
            return
        said = str(outcome.key) if outcome.key else ""
        for fault in outcome.faults:
            line = chunk.line + fault.line
            self.problems.append(
                Problem(name, line, fault.field, fault.message, fault.advice, said)
            )
        if outcome.document is not None and outcome.key is not None:
            lines = {field: chunk.line + line for field, line in outcome.lines.items()}
            place = Source(name, chunk.line + outcome.line, lines)
            self.valid.setdefault(outcome.key, []).append((outcome.document, place))
        elif outcome.key is not None:
            self.refused.add(outcome.key)
        else:
            self.doubtful.add(name)

    def choose(self) -> dict[ObjectKey, tuple[Document, Source]]:
        """The object in force for each key."""
        held = self.previous.objects()
        chosen: dict[ObjectKey, tuple[Document, Source]] = {}
        for key, found in self.valid.items():
            before = self.previous.sources.get(key)
            known = [one for one in found if before and one[1].file == before.file]
            document, source = (known or found)[0]
            if held.get(key) == document:
                document = held[key]
            chosen[key] = (document, source)
            self._report_twice(key, source, found)
        for key, document in held.items():
            source = self.previous.sources[key]
            if key not in chosen and (key in self.refused or source.file in self.doubtful):
                chosen[key] = (document, source)
        return chosen

    def _report_twice(
        self, key: ObjectKey, source: Source, found: list[tuple[Document, Source]]
    ) -> None:
        for _, other in found:
            if other != source:
                self.problems.append(
                    Problem(
                        other.file,
                        other.line,
                        "metadata.name",
                        f"declared already at {source.file}:{source.line}, which is in force",
                        "remove one of the two, or give it another name",
                        str(key),
                    )
                )


def load(previous: Loaded, files: Files, policies: Collection[str] | None = None) -> Loaded:
    """Read these files. `policies` are the names that exist; None: they are not checked."""
    names = frozenset(policies) if policies is not None else None
    memo = previous.memo if previous.policies == names else {}
    reading = _Reading(previous.declared, names, memo)
    for name in sorted(files):
        reading.file(name, files[name])
    declared = Declared.of(reading.choose())
    problems = [*reading.problems, *reference_problems(declared)]
    return Loaded(declared, tuple(sorted(problems)), reading.seen, names)
