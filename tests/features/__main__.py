"""Run the tests of every feature and print what came of them: `python -m tests.features`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

import pytest
from rich.console import Console
from rich.table import Table

from tests.features.catalogue import ROOT, Feature, features, in_order, missing, page
from tests.features.gateway_api import PAGE, api_features, written


class Outcomes:
    """A plugin of pytest that remembers how each test function ended."""

    def __init__(self) -> None:
        self.failed: set[str] = set()
        self.passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test has ended."""
        name = report.nodeid.removeprefix("tests/")
        for one in (name, name.partition("[")[0]):
            if report.failed:
                self.failed.add(one)
            elif report.when == "call" and report.passed:
                self.passed.add(one)

    def of(self, test: str) -> str:
        """What came of a test, with all its cases."""
        if test in self.failed:
            return "FAILED"
        return "passed" if test in self.passed else "did not run"


def run(found: Sequence[Feature]) -> tuple[int, Mapping[str, str]]:
    """The exit status of pytest, and what came of each test."""
    tests = in_order(found)  # as all tests are run: those of a file may share an Envoy
    outcomes = Outcomes()
    status = pytest.main(["-q", *(str(ROOT / "tests" / test) for test in tests)], [outcomes])
    return int(status), {test: outcomes.of(test) for test in tests}


def show(found: Sequence[Feature], results: Mapping[str, str]) -> None:
    """The table."""
    table = Table("GROUP", "FEATURE", "THERE", "TEST", "RESULT", box=None, pad_edge=False)
    for one in found:
        there = one.status + (f": {one.note}" if one.note else "")
        came_of = "\n".join(results[test] for test in one.tests)
        table.add_row(one.group, one.name, there, "\n".join(one.tests) or "-", came_of or "-")
    Console(width=220 if not sys.stdout.isatty() else None).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--write", action="store_true", help="only write docs/features.md and docs/gateway-api.md"
    )
    options = parser.parse_args()
    found, theirs = features(), api_features()
    lost = list(missing([*found, *theirs]))
    if lost:
        print("named in tests/features and not there:", *lost, sep="\n  ", file=sys.stderr)
        return 1
    if options.write:
        (ROOT / "docs" / "features.md").write_text(page(found))
        PAGE.write_text(written(PAGE.read_text(), theirs))
        return 0
    every = [*found, *theirs]
    status, results = run(every)
    show(every, results)
    return status


if __name__ == "__main__":
    sys.exit(main())
