from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from controlplane.guard import Code
from controlplane.model import GuardSettings

PAGE = (Path(__file__).parents[3] / "docs" / "guard.md").read_text()


def test_every_code_stands_in_the_table_of_the_documentation_and_no_other() -> None:
    table = PAGE[PAGE.index("## Reasons") :]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == [code.value for code in Code]


def test_every_setting_stands_in_the_documentation_with_its_default() -> None:
    table = PAGE[PAGE.index("## Settings") : PAGE.index("## Reasons")]
    said = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", table, re.MULTILINE))
    defaults = {one.name: one.default for one in fields(GuardSettings)}
    assert {name: said.get(name) for name in defaults} == {
        name: f"{default:g}" if isinstance(default, float) else str(default).lower()
        for name, default in defaults.items()
    }
