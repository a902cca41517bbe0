"""What is written of a league: the same numbers in every form, and an exit status that means it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from controlplane.cli.root import build
from controlplane.errors import WeirError
from policies.league.document import document
from policies.league.match import Got, Played
from policies.league.page import page
from policies.league.picture import colour, plot
from policies.league.players import Player, everybody, released
from policies.league.results import Results
from policies.league.seen import warnings
from policies.league.suite import Suite
from policies.league.tables import (
    BEGIN,
    END,
    for_readme,
    interval,
    markdown,
    targets,
    write_between,
)
from policies.league.written import as_csv, reached, read
from policies.released import residual_ppo

pytestmark = pytest.mark.learning

PLAYERS = everybody([released("learned")])
SUITE = Suite(("sparse", "two_regions", "bursty"), (0.5, 0.95), ((8, 4), (10, 16)), seeds=3)
ABOUT = {"command": "weir evaluate", "commit": "0" * 40, "machine": "x", "seconds": 1}


def a_league(learned: float = 0.5, **times: float) -> dict[str, Any]:
    """Every fixture of the suite, a second for all but for those named, with a little noise."""
    random = np.random.default_rng(1)
    played = []
    for fixtures in SUITE.rounds():
        for one in fixtures:
            got = {}
            for player in PLAYERS:
                mean_s = (times | {"learned": learned}).get(player.name, 1.0)
                mean_s *= float(np.exp(0.01 * random.standard_normal()))
                got[player.name] = Got(mean_s, 3.0 * mean_s, 0.0, 1_000)
            peak = 1.2 if one.family == "bursty" else one.load
            played.append(Played(one, one.proxies, peak, got))
    return document(SUITE, Results(played, PLAYERS), ABOUT)


@pytest.fixture(scope="module")
def league() -> dict[str, Any]:
    return a_league(least_work=0.5, model=0.8)


def test_json_has_no_numbers_that_json_has_not(league: dict[str, Any]) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert json.loads(json.dumps(league), parse_constant=refuse) == league
    one_seed = json.dumps(_of_one_service(), allow_nan=False)
    assert "null" in one_seed


def _of_one_service() -> dict[str, Any]:
    suite = Suite(("sparse",), (0.5,), ((8, 4),), seeds=1)
    (fixture,) = next(suite.rounds())
    got = {one.name: Got(1.0, 2.0, 0.0, 10) for one in PLAYERS}
    return document(suite, Results([Played(fixture, 4, 0.5, got)], PLAYERS), ABOUT)


def test_a_league_of_one_case_can_be_shown_and_reaches_nothing() -> None:
    alone = _of_one_service()
    assert "1.000 [?, ?]" in markdown(alone)
    assert page(alone)
    assert not reached(alone)


def test_every_form_has_every_player_and_every_scenario(
    league: dict[str, Any], tmp_path: Path
) -> None:
    for text in (markdown(league), page(league)):
        for player in PLAYERS:
            assert player.what in text
        for family in SUITE.families:
            assert family in text
    rows = list(csv.DictReader(io.StringIO(as_csv(league))))
    whole = {row["player"]: row for row in rows if row["cases"] == "all"}
    assert set(whole) == {*(one.name for one in PLAYERS), "best_stock"}
    assert float(whole["learned"]["mean"]) == league["blocks"][0]["players"]["learned"]["mean"][0]
    assert float(whole["learned"]["mean"]) == pytest.approx(0.5, rel=0.01)
    plot(league, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


class Balanced(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_other(league: dict[str, Any]) -> None:
    text = page(league)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    for outside in ("http://", "https://", "<script", "<link", "<img"):
        assert outside not in text


def test_colours_tell_slower_from_faster_and_end_somewhere() -> None:
    def channels(ratio: float) -> list[int]:
        return [int(colour(ratio)[i : i + 2], 16) for i in (1, 3, 5)]

    assert channels(1.0) == [255, 255, 255]
    assert channels(1.5)[0] > channels(1.5)[2]  # red
    assert channels(0.7)[2] > channels(0.7)[0]  # blue
    assert colour(2.0) == colour(40.0)
    assert colour(0.5) == colour(0.01)


def test_what_is_overloaded_is_told_apart_and_not_as_a_verdict(league: dict[str, Any]) -> None:
    bursty = league["verdicts"]["learned"]["scenarios"]["bursty"]
    assert bursty["verdict"] == "overloaded"
    assert bursty["counted"] is None
    assert league["suite"]["overloaded"] == 12
    assert "overloaded in bursty" in for_readme(league)


def test_a_league_is_good_enough_when_all_that_is_released_reaches_all(
    league: dict[str, Any],
) -> None:
    assert reached(league)
    assert not reached(a_league(0.5, model=0.45, least_work=0.5))  # behind the model
    assert not reached(a_league(1.1, model=1.2))  # harm
    assert "missed: mean against model" in for_readme(a_league(0.5, model=0.45))


def test_a_measure_without_a_limit_is_shown_and_decides_nothing(league: dict[str, Any]) -> None:
    slow = a_league(0.5, model=0.8, least_work=0.5)
    for one in slow["verdicts"]["learned"]["targets"]:
        if one["target"] == "model":
            one["measures"]["p99"]["is"] = [1.5, 1.4, 1.6]
    assert reached(slow)
    for text in (markdown(slow), page(slow)):
        assert "1.500 [1.400, 1.600]" in text
    rows = targets(slow, "learned").rows
    assert ["model", "p99", "", "1.500 [1.400, 1.600]", ""] in rows
    assert [row[1] for row in rows[:-1]] == ["mean", "p99"] * 5
    assert for_readme(slow) == for_readme(league)


def test_the_table_goes_between_the_marks_and_nowhere_else(
    league: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between(path, for_readme(league))
    first = path.read_text()
    assert first.startswith(f"before\n{BEGIN}\n|")
    assert first.endswith(f"{END}\nafter\n")
    assert "old" not in first
    write_between(path, for_readme(league))
    assert path.read_text() == first
    path.write_text("no marks\n")
    with pytest.raises(WeirError, match="put them where"):
        write_between(path, "x")
    assert path.read_text() == "no marks\n"


def test_what_is_no_league_is_refused_in_words(tmp_path: Path) -> None:
    for text in ("", "[]", '{"format": 0, "verdicts": {}}'):
        (tmp_path / "l.json").write_text(text)
        with pytest.raises(WeirError, match=r"l\.json"):
            read(tmp_path / "l.json")


def test_an_interval_that_is_not_known_says_so() -> None:
    assert interval([0.5, 0.4, 0.625]) == "0.500 [0.400, 0.625]"
    assert interval([0.5, None, None]) == "0.500 [?, ?]"


def weir(*arguments: str) -> Result:
    return CliRunner().invoke(build(), arguments)


def test_the_verb_shows_a_league_and_its_exit_status_says_whether_it_is_good_enough(
    league: dict[str, Any], tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(league))
    bad.write_text(json.dumps(a_league(1.1)))
    shown = weir("league", str(good))
    assert shown.exit_code == 0
    assert "learned: targets" in shown.stdout
    assert "missed" in weir("league", str(bad)).stdout
    assert weir("league", str(bad)).exit_code == 3
    assert json.loads(weir("league", str(good), "-o", "json").stdout) == league
    assert yaml.safe_load(weir("league", str(good), "--output", "yaml").stdout) == league
    one = weir("league", str(good), "--player", "learned").stdout
    assert "learned to FULL_SCAN" in one
    assert "model to FULL_SCAN" not in one
    assert weir("league", str(good), "--player", "nobody").exit_code == 1
    assert weir("league", str(tmp_path / "none.json")).exit_code == 1
    for name in ("players", "blocks", "about", "suite"):
        bad.write_text(json.dumps({key: one for key, one in league.items() if key != name}))
        torn = weir("league", str(bad))
        assert torn.exit_code == 1
        assert "is no whole league" in " ".join(torn.stderr.split())


def test_evaluate_plays_writes_every_form_and_leaves_the_readme_to_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    to = tmp_path / "results" / "l"
    options = ("--family", "homogeneous", "--quick", "--seeds", "1", "--jobs", "1")
    began, ended = "0123456789abcdef" + 24 * "0" + "+", 40 * "1"
    monkeypatch.setattr(
        "policies.league.cli.commit",
        lambda: ended if to.with_name("l-quick.played.jsonl").exists() else began,
    )
    done = weir("evaluate", *options, "--to", str(to), "--readme", str(readme), "-o", "json")
    assert done.exit_code == 0, done.output
    written = {one.suffix for one in to.parent.glob("l-quick.*")}
    assert written == {".json", ".csv", ".md", ".html", ".png", ".jsonl"}
    kept = read(to.with_name("l-quick.json"))
    assert kept["suite"]["cases"] == 4
    assert kept["about"]["commit"] == began
    release = json.loads((residual_ppo() / "manifest.json").read_text())
    assert kept["about"]["releases"] == {"learned": release["digest"]}
    assert "at commit `0123456789ab+`." in to.with_name("l-quick.md").read_text()
    assert readme.read_text() == f"{BEGIN}\n{END}\n"


def a_release(folder: Path, **recipe: object) -> Player:
    """The installed one under another name, as if trained on something else."""
    shutil.copytree(residual_ppo(), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["recipe"] |= recipe
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return released(folder.name, folder)


def test_a_release_that_was_trained_on_what_is_held_out_is_said_to_be(tmp_path: Path) -> None:
    assert [said for player in PLAYERS for said in warnings(player)] == []
    lesson = {"until": 0.5, "families": {"two_regions": 1.0, "diurnal": 0.0}, "endpoints": None}
    crammed = a_release(
        tmp_path / "crammed",
        scenarios={"families": {"sparse": 1.0}, "endpoints": [8, 24]},
        curriculum=[lesson],
    )
    (said,) = warnings(crammed)
    assert said.startswith("crammed was trained on two_regions, 24 endpoints, which are held out")
    (said,) = warnings(a_release(tmp_path / "silent", scenarios=None))
    assert "what it was trained on is not said in" in said


def test_a_warning_is_on_the_console_and_in_what_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "crammed"
    a_release(folder, scenarios={"families": {"sparse": 1.0}, "endpoints": [24]})
    options = ("--family", "homogeneous", "--quick", "--seeds", "1", "--jobs", "1")
    done = weir("evaluate", *options, "--release", str(folder), "--to", str(tmp_path / "l"))
    assert done.exit_code == 0, done.output
    for text in (done.stderr, (tmp_path / "l-quick.md").read_text()):
        assert "crammed was trained on 24 endpoints" in " ".join(text.split())


def test_what_would_fail_after_hours_of_playing_is_refused_before_it(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("no marks\n")
    (tmp_path / "file").write_text("")
    to = ("--to", str(tmp_path / "l"))
    for wrong, words in (
        (("--readme", str(readme), *to), "put them where the table belongs"),
        (("--readme", str(tmp_path / "none"), *to), "No such file"),
        (("--jobs", "0", *to), "wanted at least 1"),
        (("--to", str(tmp_path / "file" / "l")), "error: "),
    ):
        done = weir("evaluate", *wrong)
        assert done.exit_code == 1
        assert words in " ".join(done.stderr.split())
        assert isinstance(done.exception, SystemExit)
    assert not list(tmp_path.glob("l*"))


def test_a_league_is_shown_where_nothing_that_plays_is_installed() -> None:
    code = (
        "import sys, policies.league.cli, policies.league.tables, policies.league.page, "
        "policies.league.written\n"
        "print([n for n in ('numba', 'scipy', 'torch', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_readme_has_the_table_of_the_league_that_is_kept() -> None:
    root = Path(__file__).parents[2]
    text = (root / "README.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    kept = root / "benchmarks" / "results" / "league.json"
    if kept.exists():
        assert for_readme(read(kept)) in text
