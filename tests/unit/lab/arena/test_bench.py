from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from controlplane.checkout import ROOT, commit
from controlplane.errors import ConfigurationError
from controlplane.lab.arena.bench import Bench, bench, facts, run_bench
from controlplane.lab.arena.contestants import REFERENCE
from controlplane.lab.arena.document import document, read_heats, write
from controlplane.lab.arena.draw import Room
from controlplane.lab.arena.made_by import here, warnings
from controlplane.lab.arena.results import Heat, MadeBy
from controlplane.lab.arena.tally import Tally
from controlplane.lab.scenarios import Scenario
from tests.unit.lab.arena.made import heat

QUIET = Console(quiet=True)
WANTED = Bench(
    scenarios=("homogeneous", "sparse"),
    lanes=("full_scan", "cswrr", "pid", "model", "learned"),
    seeds=2,
    room=Room(900.0),
)
TRUTH = {"cswrr": 1.3, "pid": 1.1, "model": 0.8, "learned": 0.7}


class Machine:
    """Plays heats at once; is too busy for some of the attempts."""

    def __init__(self, busy: Sequence[int] = ()) -> None:
        self.played: list[tuple[str, int, tuple[str, ...], int]] = []
        self._busy = busy

    async def __call__(
        self, scenario: Scenario, names: tuple[str, ...], *, seed: int, attempt: int, **_: object
    ) -> Heat:
        late = len(self.played) in self._busy
        self.played.append((scenario.name, seed, names, attempt))
        return heat(
            seed,
            {name: TRUTH[name] for name in names if name != REFERENCE},
            scenario=scenario.name,
            reasons=("the generator was too busy",) if late else (),
        )


async def test_a_heat_for_which_the_machine_was_too_busy_is_played_again_once() -> None:
    machine = Machine(busy=(1, 3, 4))
    heats = await run_bench(WANTED, QUIET, play=machine)
    assert [one[3] for one in machine.played[:5]] == [1, 1, 2, 1, 2]
    assert [one.valid for one in heats[:3]] == [True, True, False]
    assert len(heats) == len(list(WANTED.plan()))


async def test_what_was_refused_is_in_no_number() -> None:
    heats = await run_bench(WANTED, QUIET, play=Machine(busy=range(100)))
    told = document(heats, {})
    assert told["not_valid"] == len(heats)
    assert all(one["lanes"] == {} for one in told["scenarios"].values())
    assert told["overall"]["learned"]["mean"] is None


async def test_a_run_that_was_cut_short_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = await run_bench(WANTED, QUIET, play=Machine())
    first = await run_bench(WANTED, QUIET, to=tmp_path / "arena", play=Machine(busy=(2, 3)))
    kept = read_heats(tmp_path / "arena.json", WANTED.settings())
    assert len(kept) == len(first) - 1
    machine = Machine()
    again = await run_bench(WANTED, QUIET, kept, play=machine)
    assert len(machine.played) == 1
    assert again == whole


async def test_a_scenario_that_is_new_is_no_difference_and_one_that_changed_is_told(
    tmp_path: Path,
) -> None:
    whole = await run_bench(WANTED, QUIET, to=tmp_path / "arena", play=Machine())
    settings = WANTED.settings()
    newer = {**settings, "scenarios": {**settings["scenarios"], "one-more": "0123"}}
    assert read_heats(tmp_path / "arena.json", newer) == whole
    other = {**settings, "scenarios": {**settings["scenarios"], whole[0].scenario: "0123"}}
    with pytest.raises(ConfigurationError, match=f"before {whole[0].scenario} became what it is"):
        read_heats(tmp_path / "arena.json", other)
    with pytest.raises(ConfigurationError, match=r"other settings: .*'warmup_s': 15"):
        read_heats(tmp_path / "arena.json", {**settings, "warmup_s": 3.0})


async def test_more_seeds_are_added_to_what_is_there(tmp_path: Path) -> None:
    await run_bench(WANTED, QUIET, to=tmp_path / "arena", play=Machine())
    more = replace(WANTED, first_seed=3, seeds=1)
    kept = read_heats(tmp_path / "arena.json", more.settings())
    heats = await run_bench(more, QUIET, kept, play=Machine())
    tally = Tally(heats, REFERENCE)
    standing = tally.standing("sparse", "model")
    assert standing is not None
    assert standing.mean is not None
    assert standing.mean.seeds == 3
    assert "3 seeds, 40 s each" in facts(more, heats, tally)


async def test_over_all_scenarios_ours_is_compared_with_whom_it_has_to_beat() -> None:
    heats = await run_bench(WANTED, QUIET, play=Machine())
    ours = document(heats, {})["ours"]
    assert ours["learned"]["model"]["mean"]["value"] == round(0.7 / 0.8, 4)
    assert ours["learned"]["pid"]["p99"]["value"] == round(0.7 / 1.1, 4)
    assert ours["model"]["best_stock_in_hindsight"]["mean"]["value"] == 0.8
    told = facts(WANTED, heats, Tally(heats, REFERENCE))
    assert "Weir, learned to Weir, model: 0.88" in told
    assert "where the reference played twice, its mean was 0.0 %" in told.lower()


BEFORE = MadeBy("0123456789abcdef" + 24 * "0" + "+", "sha256:" + 64 * "1")
AFTER = MadeBy("f" * 40, "sha256:" + 64 * "2")


async def test_every_heat_says_what_played_it_and_the_table_names_all_commits() -> None:
    heats = await run_bench(WANTED, QUIET, play=Machine(), made_by=BEFORE)
    for one in heats:
        release = BEFORE.release if "learned" in one.drawn else ""
        assert one.made_by == MadeBy(BEFORE.commit, release)
    assert {one.made_by.release for one in heats} == {BEFORE.release, ""}
    told = facts(WANTED, heats, Tally(heats, REFERENCE))
    assert told.endswith("Made by `weir bench` at commit `0123456789ab+`.")
    more = await run_bench(WANTED, QUIET, heats[:3], play=Machine(), made_by=AFTER)
    told = facts(WANTED, more, Tally(more, REFERENCE))
    assert told.endswith("Made by `weir bench` at commit `0123456789ab+` and `ffffffffffff`.")
    old = [replace(heats[0], made_by=MadeBy()), *more[1:]]
    assert "`ffffffffffff` and others that were not kept." in facts(
        WANTED, old, Tally(old, REFERENCE)
    )
    none = [replace(one, made_by=MadeBy()) for one in heats]
    assert facts(WANTED, none, Tally(none, REFERENCE)).endswith("Made by `weir bench`.")


def test_what_plays_here_is_this_checkout_and_the_release_that_serving_finds() -> None:
    manifest = ROOT / "policies" / "released" / "residual-ppo" / "manifest.json"
    release = json.loads(manifest.read_text())["digest"]
    assert here(("full_scan", "learned")) == MadeBy(commit(), release)
    assert here(("full_scan", "model")) == MadeBy(commit(), "")


async def test_heats_of_another_commit_or_release_are_named_when_they_are_kept() -> None:
    heats = await run_bench(WANTED, QUIET, play=Machine(), made_by=BEFORE)
    assert warnings(heats, BEFORE) == []
    (trained,) = warnings(heats, replace(BEFORE, release=AFTER.release))
    assert trained == (
        "warning: kept heats were played by commit 0123456789ab+ with release sha256:111111111111, "
        "and now it is commit 0123456789ab+ with release sha256:222222222222: "
        "homogeneous (seeds 1, 2), sparse (seeds 1, 2)"
    )
    assert (
        warnings([one for one in heats if "learned" not in one.drawn], replace(BEFORE, release=""))
        == []
    )
    old = [replace(heats[0], made_by=MadeBy()), *heats[1:]]
    (unknown,) = warnings(old, BEFORE)
    assert "played by commit unknown, and now" in unknown
    assert unknown.endswith(f": {heats[0].scenario} (seed 1)")


def test_resumed_with_other_code_what_is_kept_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lanes = ("full_scan", "model")
    wanted = Bench(scenarios=("homogeneous",), lanes=lanes, seeds=1)
    kept = replace(heat(1, {"model": 0.8}, scenario="homogeneous"), made_by=MadeBy("f" * 40))
    write(tmp_path / "arena.json", [kept], wanted.settings())
    bench(scenario=["homogeneous"], lane=list(lanes), seeds=1, to=tmp_path / "arena", resume=True)
    said = capsys.readouterr()
    assert (
        "warning: kept heats were played by commit ffffffffffff, and now it is commit" in said.err
    )
    assert "Made by `weir bench` at commit `ffffffffffff`." in said.out


def test_nothing_is_warned_of_where_the_same_code_and_release_plays_other_lanes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = Bench(scenarios=("homogeneous",), lanes=("full_scan", "model"), seeds=1)
    kept = [
        replace(heat(1, {name: 0.8}, scenario="homogeneous"), made_by=here((name,)))
        for name in ("model", "learned", "of_before")
    ]
    write(tmp_path / "arena.json", kept, wanted.settings())
    lanes = list(wanted.lanes)
    bench(scenario=["homogeneous"], lane=lanes, seeds=1, to=tmp_path / "arena", resume=True)
    assert "warning" not in capsys.readouterr().err


def test_seeds_come_one_after_another_so_that_a_short_run_has_whole_ones() -> None:
    seeds = [seed for _, seed, _ in WANTED.plan()]
    assert seeds == sorted(seeds)


def test_a_place_where_nothing_can_be_written_is_refused_before_an_hour_of_playing(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="no folder for it"):
        bench(scenario=["homogeneous"], lane=["full_scan"], to=tmp_path / "file" / "arena")
