"""The dashboards as files: made by the code, read by Grafana's own library, kept to its customs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.__main__ import FOLDER
from deploy.grafana.boards import BOARDS
from deploy.grafana.draw import document
from deploy.grafana.queries import asked

FILES = sorted(FOLDER.glob("*.json"))
METRICS = Path(__file__).parents[3] / "docs" / "metrics.md"
NOT_OURS = re.compile(r"envoy_|process_|scrape_")
SUFFIXES = re.compile(r"_(?:bucket|sum|count)$")


def panels(file: Path) -> list[dict[str, Any]]:
    return [one for one in json.loads(file.read_text())["panels"] if one["type"] != "row"]


def test_the_files_are_what_the_code_makes() -> None:
    """`python -m deploy.grafana` writes them."""
    made = {f"{board.uid}.json": document(board) for board in BOARDS}
    assert {file.name: file.read_text() for file in FILES} == made


@pytest.mark.parametrize("file", FILES, ids=lambda one: one.stem)
def test_grafanas_library_reads_all_of_it(file: Path) -> None:
    text = file.read_text()
    read = Dashboard.from_json(json.loads(text))
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == json.loads(text)


@pytest.mark.parametrize("file", FILES, ids=lambda one: one.stem)
def test_each_panel_says_what_it_shows_of_the_chosen_source_and_place(file: Path) -> None:
    board = json.loads(file.read_text())
    names = [one["name"] for one in board["templating"]["list"]]
    assert names[:3] == ["datasource", "cluster", "namespace"]
    for panel in panels(file):
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            braces = re.findall(r"\{[^}]*\}", target["expr"])
            assert braces
            for one in braces:
                assert 'namespace=~"$namespace",cluster=~"$cluster"' in one
            asked(target["expr"])  # no variable that is not there


@pytest.mark.parametrize("file", FILES, ids=lambda one: one.stem)
def test_panels_fill_rows_and_do_not_overlap(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_metric_of_ours_is_one_that_the_document_describes() -> None:
    described = set(re.findall(r"^\| `(weir_[a-z_]+)`", METRICS.read_text(), re.MULTILINE))
    named = {
        name
        for file in FILES
        for panel in panels(file)
        for target in panel["targets"]
        for name in re.findall(r"([a-z_]+)\{", target["expr"])
        if not NOT_OURS.match(name)
    }
    assert named
    assert {SUFFIXES.sub("", name) for name in named} <= described


def test_a_variable_without_a_value_is_told() -> None:
    with pytest.raises(ValueError, match=r"\$pod"):
        asked('up{pod="$pod"}')
