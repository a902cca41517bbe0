from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from controlplane.errors import ConfigurationError
from controlplane.lab.arena.bench import Bench, bench, facts, run_bench
from controlplane.lab.arena.contestants import REFERENCE
from controlplane.lab.arena.document import document, read_heats
from controlplane.lab.arena.draw import Room
from controlplane.lab.arena.results import Heat
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


def test_seeds_come_one_after_another_so_that_a_short_run_has_whole_ones() -> None:
    seeds = [seed for _, seed, _ in WANTED.plan()]
    assert seeds == sorted(seeds)


def test_a_place_where_nothing_can_be_written_is_refused_before_an_hour_of_playing(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="no folder for it"):
        bench(scenario=["homogeneous"], lane=["full_scan"], to=tmp_path / "file" / "arena")
