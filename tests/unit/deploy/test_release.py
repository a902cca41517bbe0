"""One version in all places, and a release that is prepared, checked and told by one command."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from deploy import release

ROOT = Path(__file__).parents[3]
LOG = """# Changelog

## Unreleased

### Added
- More.

## 0.1.0 - 2026-01-02

### Added
- All.

## 0.0.9
- Little.
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for file in ("pyproject.toml", *(name for name, _ in release.PLACES)):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, tmp_path / file)
    (tmp_path / "CHANGELOG.md").write_text(LOG)
    return tmp_path


def test_every_place_names_the_version_of_pyproject() -> None:
    assert release.wrong(release.current()) == []


def test_a_section_is_told_without_those_around_it() -> None:
    assert release.notes(LOG, "0.1.0") == "### Added\n- All.\n"
    assert release.notes(LOG, "0.0.9") == "- Little.\n"
    with pytest.raises(ValueError, match=r"no section 0\.2\.0"):
        release.notes(LOG, "0.2.0")


@pytest.mark.parametrize(("version", "python"), [("0.2.0", "0.2.0"), ("1.0.0-rc.2", "1.0.0rc2")])
def test_a_prepared_tree_is_right_in_every_place(tree: Path, version: str, python: str) -> None:
    release.prepare(version, date(2027, 1, 31), tree)
    assert release.current(tree) == python
    assert release.wrong(version, tree) == []
    told = release.notes((tree / "CHANGELOG.md").read_text(), version)
    assert told == "### Added\n- More.\n"
    assert "## Unreleased\n\n## " in (tree / "CHANGELOG.md").read_text()
    dependencies = (tree / "pyproject.toml").read_text().partition("dependencies = [")[2]
    was = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2]
    assert dependencies == was
    with pytest.raises(ValueError, match="none"):
        release.prepare(version, date(2027, 1, 31), tree)


def test_a_place_that_was_forgotten_is_named(tree: Path) -> None:
    place = tree / "charts/weir/charts/crds/Chart.yaml"
    place.write_text(place.read_text().replace("appVersion: 0.1.0", "appVersion: 0.0.9"))
    said = release.wrong("0.1.0", tree)
    assert said == ["charts/weir/charts/crds/Chart.yaml says 0.0.9, 0.1.0"]


@pytest.mark.parametrize("tag", ["v1", "1.2.3.4", "v1.2.3-x", "v01.2.3 "])
def test_a_tag_that_is_no_version_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        release.main(["notes", tag])
