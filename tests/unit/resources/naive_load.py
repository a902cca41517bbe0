"""What files mean after what they meant before, worked out from all of them each time.

The rules of `controlplane.resources.load` without anything kept: every file is read, every object
chosen, every Backend of a Service made again. Slow, and short enough to be read as what is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.resources.check import check
from controlplane.resources.declared import Declared, ObjectKey, Source, Unkept
from controlplane.resources.kinds import Document
from controlplane.resources.problems import Problem
from controlplane.resources.read import split
from controlplane.resources.references import reference_problems
from controlplane.resources.service_backends import ServiceBackends

Chosen = dict[ObjectKey, tuple[Document, Source]]


@dataclass
class Naive:
    """All that is in force, and all that is wrong."""

    objects: Chosen = field(default_factory=dict)
    unkept: dict[ObjectKey, Unkept] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def documents(self) -> dict[ObjectKey, Document]:
        return {key: document for key, (document, _) in self.objects.items()}

    def sources(self) -> dict[ObjectKey, Source]:
        return {key: source for key, (_, source) in self.objects.items()}


@dataclass
class File:
    """What one holds."""

    problems: list[Problem] = field(default_factory=list)
    valid: list[tuple[ObjectKey, Document, Source]] = field(default_factory=list)
    refused: set[ObjectKey] = field(default_factory=set)
    unkept: dict[ObjectKey, Unkept] = field(default_factory=dict)
    doubtful: bool = False


def read(name: str, content: bytes | OSError, policies: Sequence[str]) -> File:
    file = File()
    if isinstance(content, OSError):
        advice = "give the user that Weir runs as leave to read it"
        message = f"cannot be read: {content.strerror}"
        return File([Problem(name, 0, "", message, advice)], doubtful=True)
    for chunk in split(content.decode()):
        found = check(chunk.text, policies)
        if found is None:
            continue
        said = str(found.key) if found.key else ""
        file.problems += [
            Problem(name, chunk.line + one.line, one.field, one.message, one.advice, said)
            for one in found.faults
        ]
        lines = {at: chunk.line + line for at, line in found.lines.items()}
        source = Source(name, chunk.line + found.line, lines)
        if found.key is not None and found.document is not None:
            file.valid.append((found.key, found.document, source))
        elif found.key is not None:
            file.refused.add(found.key)
        else:
            file.doubtful = True
        if found.unkept is not None:
            file.unkept[found.unkept[0]] = Unkept(source, found.unkept[1])
    return file


def load(before: Naive, files: Mapping[str, bytes | OSError], policies: Sequence[str]) -> Naive:
    read_ = {name: read(name, files[name], policies) for name in sorted(files)}
    causes = [problem for one in read_.values() for problem in one.problems]
    refused = {key for one in read_.values() for key in one.refused}
    doubtful = {
        name
        for name, one in read_.items()
        if one.doubtful or not one.refused <= before.objects.keys()
    }
    found: dict[ObjectKey, list[tuple[Document, Source]]] = {}
    for one in read_.values():
        for key, document, source in one.valid:
            found.setdefault(key, []).append((document, source))
    chosen: Chosen = {}
    for key, several in found.items():
        mine = [one for one in several if key in before.objects and _same_file(one, before, key)]
        chosen[key] = (mine or several)[0]
        here = chosen[key][1]
        causes += [_twice(key, here, other) for _, other in several if other != here]
    for key, (document, source) in before.objects.items():
        if key not in found and (key in refused or source.file in doubtful):
            chosen[key] = (document, source)
    _, made = ServiceBackends().after(chosen)
    chosen |= {key: one for key, one in made.items() if one is not None}
    unkept = {key: one for key, one in before.unkept.items() if one.source.file in doubtful}
    for one in read_.values():
        unkept |= one.unkept
    unkept = {key: one for key, one in unkept.items() if key not in chosen}
    causes = sorted(causes)
    first = {one.object: one for one in reversed(causes) if one.object}
    declared = Declared().after(chosen, unkept)
    led = [*reference_problems(declared, first), *(_told(*one) for one in unkept.items())]
    return Naive(chosen, unkept, [*causes, *sorted(led)])


def _same_file(one: tuple[Document, Source], before: Naive, key: ObjectKey) -> bool:
    return one[1].file == before.objects[key][1].file


def _twice(key: ObjectKey, source: Source, other: Source) -> Problem:
    message = f"declared already at {source.file}:{source.line}, which is in force"
    advice = "remove one of the two, or give it another name"
    line = other.lines["metadata.name"]
    return Problem(other.file, line, "metadata.name", message, advice, str(key))


def _told(key: ObjectKey, unkept: Unkept) -> Problem:
    place, advice = unkept.source, "mend its document, or take it out"
    return Problem(place.file, place.line, "spec.targetRefs", unkept.message, advice, str(key))
