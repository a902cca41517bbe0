"""What `features.yaml` says, and whether the tests that it names are there."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
FILE = Path(__file__).with_name("features.yaml")


_HEAD = """\
# Features of the data path

Each with where it is declared, and the tests that send requests for it through the real Envoy. Made
from `tests/features/features.yaml` by `make features ARGS=--write`; `make features` runs the tests
and prints this table with what came of them.
"""
_COLUMNS = ("| feature | declared in | there | requests |", "|---|---|---|---|")


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a platform team wants from the data path."""

    group: str
    name: str
    declared: str
    """Where it is declared, as `TrafficPolicy.retry`."""
    tests: tuple[str, ...]
    """Of tests/, as `envoy/test_https.py::test_each_host_has_its_certificate_and_its_routes`."""
    note: str = ""
    """What of it is not there, or could not be exercised, and why."""
    cases: tuple[str, ...] = ()
    """Of a test with a table of cases, the hosts of those that are meant."""
    level: str = ""
    """Of conformance, where somebody else made the list: `core`, `extended`."""

    @property
    def status(self) -> str:
        """`yes`, `in part` or `no`."""
        if not self.tests:
            return "no"
        return "in part" if self.note else "yes"


def features(file: Path = FILE) -> tuple[Feature, ...]:
    """All of them, in the order of the file."""
    read: Mapping[str, Sequence[Mapping[str, Any]]] = yaml.safe_load(file.read_text())
    return tuple(_feature(group, one) for group, found in read.items() for one in found)


def _feature(group: str, one: Mapping[str, Any]) -> Feature:
    known = {"feature", "declared", "tests", "note", "cases", "level"}
    if one.keys() - known:
        raise ValueError(f"{one}: want no more than {sorted(known)}")
    tests = tuple(one.get("tests", ()))
    note = str(one.get("note", ""))
    if not tests and not note:
        raise ValueError(f"{one['feature']}: has no test and does not say why")
    return Feature(
        group,
        one["feature"],
        one.get("declared", ""),
        tests,
        note,
        tuple(one.get("cases", ())),
        one.get("level", ""),
    )


def missing(found: Sequence[Feature]) -> Iterator[str]:
    """The tests that are named and not there."""
    for feature in found:
        for test in feature.tests:
            file, _, name = test.partition("::")
            if name.partition("[")[0] not in _tests(ROOT / "tests" / file):
                yield test


def in_order(found: Sequence[Feature]) -> list[str]:
    """All tests, each once, in the order of their files and of the lines that they stand in."""

    def place(test: str) -> tuple[str, int]:
        file, _, name = test.partition("::")
        return file, _tests(ROOT / "tests" / file).get(name.partition("[")[0], 0)

    return sorted({test for feature in found for test in feature.tests}, key=place)


@functools.cache
def _tests(file: Path) -> Mapping[str, int]:
    """The functions of a file, and their lines."""
    if not file.exists():
        return {}
    tree = ast.parse(file.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {one.name: one.lineno for one in ast.walk(tree) if isinstance(one, functions)}


def page(found: Sequence[Feature]) -> str:
    """docs/features.md."""
    out = [_HEAD]
    for group in dict.fromkeys(one.group for one in found):
        out += [f"## {group}", "", *_COLUMNS]
        out += [*(_row(one) for one in found if one.group == group), ""]
    return "\n".join(out)


def _row(one: Feature) -> str:
    tests = "<br>".join(link(test) for test in one.tests)
    there = one.status + (f": {one.note}" if one.note else "")
    declared = f"`{one.declared}`" if one.declared else ""
    return f"| {one.name} | {declared} | {there} | {tests} |"


def link(test: str) -> str:
    """A test, with where it stands."""
    file, _, name = test.partition("::")
    return f"[`{name}`](../tests/{file})"
