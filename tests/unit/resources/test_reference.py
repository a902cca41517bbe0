from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlplane.resources import validate_folder
from controlplane.resources.reference import reference
from tests.unit.resources.documents import POLICIES

ROOT = Path(__file__).parents[3]


def test_the_reference_is_what_the_models_say() -> None:
    page = ROOT / "docs" / "reference" / "resources.md"
    assert page.read_text() == reference(), (
        "write it anew: python -m controlplane.resources.reference > docs/reference/resources.md"
    )


def test_every_field_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| +\|$", reference(), re.MULTILINE)
    assert set(rows) <= {"group", "kind", "type", "value"}


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "examples").glob("0[129]-*")), ids=lambda f: f.name
)
def test_the_examples_are_valid(folder: Path) -> None:
    loaded = validate_folder(folder, POLICIES)
    assert loaded.problems == ()
    assert loaded.declared.backends
