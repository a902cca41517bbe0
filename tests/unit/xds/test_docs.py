"""docs/xds.md names each rule, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

from controlplane._pb.discovery_pb2 import Resource

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "xds.md").read_text()


def test_every_rule_is_in_the_document_once() -> None:
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", TEXT, re.M)] == [*range(1, 35)]


def test_the_tests_that_the_document_names_exist_and_no_rule_is_tested_without_it() -> None:
    files = [*(ROOT / "tests" / "unit" / "xds").glob("*.py"), ROOT / "tests/envoy/test_xds.py"]
    exist = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named <= exist
    assert {name for name in exist if name.startswith("test_rule_")} <= named


def test_rule_12_our_messages_have_no_field_for_a_time_to_live() -> None:
    fields = {field.name for field in Resource.DESCRIPTOR.fields}
    assert fields == {"version", "resource", "name", "aliases"}
