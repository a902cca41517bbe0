"""What an Envoy should run against what it runs: what is missing, extra, or different.

An ACK says that Envoy could read what it was sent, not that it is in force: an assignment of
another name than the cluster asks for is taken and ignored. So it is what Envoy tells of itself
that is compared, and what it said to Weir is told beside it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controlplane.inspection.canonical import Json
from controlplane.inspection.found import TYPE_URLS, Found, Intended, Place, Running
from controlplane.inspection.normal import normal, same

MAX_LINES = 200
"""Lines of one text difference."""

_SAID = {
    "in force": "Envoy acknowledged it",
    "refused": "Envoy refused it",
    "awaited": "it was sent, and Envoy has not answered",
    "not sent": "it was not sent yet",
}


class Kind(StrEnum):
    """In which way a resource is not as it should be."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Difference:
    """One resource that is not as it should be."""

    type: str
    name: str
    kind: Kind
    note: str = ""
    lines: tuple[str, ...] = ()
    """Of a difference in content: a unified diff, from what is intended to what runs."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes two looks find the same one."""
        return self.type, self.name, self.kind.value


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of an Envoy."""

    differences: tuple[Difference, ...]
    compared: int
    """Resources whose content was compared."""
    skipped: tuple[str, ...]
    """What could not be compared, and why."""


def compare(intended: Mapping[str, Intended], running: Running) -> Comparison:
    """Type by type, resource by resource."""
    differences: list[Difference] = []
    skipped: list[str] = []
    compared = 0
    for kind, one in intended.items():
        if kind not in TYPE_URLS:
            skipped.append(f"{kind}: Envoy's config dump does not tell of this type")
            continue
        there = [found for found in running.types.get(kind, ()) if found.place is not Place.STATIC]
        wanted = {found.name for found in one.resources}
        for should in one.resources:
            its = [found for found in there if found.name == should.name]
            said = _SAID.get(one.states.get(should.name, ""), "")
            problem = _unreadable(should, its)
            if problem:
                skipped.append(f"{kind} {should.name}: {problem}")
                if not its:
                    differences.append(Difference(kind, should.name, Kind.MISSING, said))
                continue
            if kind == "vhds" and not should.body and not its:
                continue  # what stands for a host that does not exist
            compared += 1
            differences += _of_one(kind, should, its, said)
        for found in there:
            ours = one.everything or found.name in one.asked
            if ours and found.name not in wanted and found.place is Place.ACTIVE:
                differences.append(Difference(kind, found.name, Kind.EXTRA))
    return Comparison(tuple(differences), compared, tuple(skipped))


def lasting(first: Comparison, second: Comparison) -> Comparison:
    """The second look, without what the first did not find: such may be under way."""
    known = {one.identity for one in first.differences}
    left = tuple(one for one in second.differences if one.identity in known)
    return Comparison(left, second.compared, second.skipped)


def _unreadable(should: Found, its: list[Found]) -> str:
    for one in (should, *its):
        if one.body is None:
            return one.why
    return ""


def _of_one(kind: str, should: Found, its: list[Found], said: str) -> Iterator[Difference]:
    active = [found for found in its if found.place is Place.ACTIVE]
    warming = any(found.place is Place.WARMING for found in its)
    refused = next((found.refused for found in its if found.refused), "")
    note = "; ".join(part for part in (said, "it is warming" if warming else "", refused) if part)
    if not active:
        yield Difference(kind, should.name, Kind.MISSING, note)
        return
    assert should.body is not None
    ours = normal(kind, should.body)
    for found in active:
        assert found.body is not None
        theirs = normal(kind, found.body)
        if not same(kind, ours, theirs):
            lines = tuple(_unified(ours, theirs))
            yield Difference(kind, should.name, Kind.DIFFERENT, note, lines)


def _unified(ours: Json, theirs: Json) -> Iterator[str]:
    lines = difflib.unified_diff(
        _lines(ours), _lines(theirs), "intended", "running", n=4, lineterm=""
    )
    for number, line in enumerate(lines):
        if number == MAX_LINES:
            yield f"... more than {MAX_LINES} lines"
            return
        yield line


def _lines(body: Json) -> list[str]:
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
