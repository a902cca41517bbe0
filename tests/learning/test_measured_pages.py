"""Tables of the docs are made from the measurements that are kept beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import few_shot, fidelity, region_agents, simulator_algorithms, simulator_theory
from policies.league.tables import around

pytestmark = pytest.mark.learning

SIMULATOR = Path(__file__).parents[2] / "docs" / "simulator.md"
FIDELITY = fidelity.RESULTS / "fidelity.json"
NUMBER = re.compile(r"[-+]?\d+")


def between(page: Path, marks: tuple[str, str]) -> str:
    """What stands between two marks of a page."""
    before, after = around(page, marks)
    return page.read_text()[len(before) + len(marks[0]) : -len(after) - len(marks[1])].strip("\n")


def cells(page: Path, marks: tuple[str, str]) -> list[list[str]]:
    """A table's rows, its head the first."""
    rows = [line.strip("|").split("|") for line in between(page, marks).splitlines()]
    return [[cell.strip() for cell in row] for row in rows[:1] + rows[2:]]


def test_the_simulator_beside_theory() -> None:
    """What is kept was rounded once more, so the last digit that is shown may be one off."""
    kept = json.loads(simulator_theory.RESULT.read_text())
    head, *rows = cells(SIMULATOR, (simulator_theory.BEGIN, simulator_theory.END))
    assert head == ["system", "source", "measure", "theory", "simulated", "gap"]
    for row, one in zip(rows, kept["rows"], strict=True):
        assert row[:3] == [one["system"], one["source"], one["measure"]]
        mean, error = (float(part) for part in row[4].split(" ± "))
        wanted = (one["theory"], one["simulated"], one["standard_error"])
        assert (float(row[3]), mean, error) == pytest.approx(wanted, abs=5.6e-4)
        gap = 100.0 * (one["simulated"] / one["theory"] - 1.0)
        assert float(row[5].rstrip("%")) == pytest.approx(gap, abs=0.056)
        assert abs(gap) < 1.0
    assert kept["requests"] == 2_000_000
    assert "two million requests for each row" in SIMULATOR.read_text()


def test_the_simulator_beside_real_envoys() -> None:
    kept = json.loads(FIDELITY.read_text())
    rows = [
        fidelity.Row(
            one["scenario"],
            one["lane"],
            {of: one[f"{of}_measured_ms"] for of in ("mean", "p99")},
            {of: one[f"{of}_predicted_ms"] for of in ("mean", "p99")},
        )
        for one in kept["rows"]
    ]
    settings = json.loads((fidelity.RESULTS / "arena.json").read_text())["settings"]
    facts = (
        f"Schedules: {kept['schedules']}, {settings['duration_s']:.0f} s each. "
        "Made by `benchmarks/fidelity.py`."
    )
    ours = between(SIMULATOR, (fidelity.BEGIN, fidelity.END)).splitlines()
    theirs = fidelity.table(rows, facts).splitlines()
    # A number that is shown may differ by its last digit from that of what is kept, which was
    # rounded before; who is off, how many are, and everything else is the same.
    for shown, wanted in zip(ours, theirs, strict=True):
        assert NUMBER.sub("", shown) == NUMBER.sub("", wanted)
        numbers = [[int(one) for one in NUMBER.findall(line)] for line in (shown, wanted)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0 if "Within" in shown else 1)


def test_what_was_measured_in_the_arena_is_what_the_simulator_was_held_to() -> None:
    """Milliseconds of the arena's lanes, which its own page shows, and those kept with the gaps."""
    arena = json.loads((fidelity.RESULTS / "arena.json").read_text())["scenarios"]
    for one in json.loads(FIDELITY.read_text())["rows"]:
        lane = arena[one["scenario"]]["lanes"][one["lane"]]
        for of in ("mean", "p99"):
            assert one[f"{of}_measured_ms"] == pytest.approx(lane[f"{of}_ms"], abs=0.011)
            gap = one[f"{of}_predicted_ms"] / one[f"{of}_measured_ms"] - 1.0
            assert one[f"{of}_gap"] == pytest.approx(gap, abs=2e-4)


def test_the_algorithms_side_by_side() -> None:
    """Kept with three digits, and shown with two of what was measured."""
    kept = json.loads(simulator_algorithms.RESULT.read_text())["ratios"]
    head, *rows = cells(SIMULATOR, (simulator_algorithms.BEGIN, simulator_algorithms.END))
    assert [row[0] for row in rows] == list(kept)
    for name, *shown in rows:
        for load, cell in zip(head[1:], shown, strict=True):
            assert [float(one) for one in cell.split(" / ")] == pytest.approx(
                kept[name][load], abs=5.6e-3
            )


def test_adapting_to_a_new_service() -> None:
    kept = json.loads(few_shot.RESULT.read_text())
    assert between(few_shot.PAGE, few_shot.MARKS) == few_shot.table(kept)


def test_agents_for_regions() -> None:
    kept = json.loads(region_agents.RESULT.read_text())
    assert between(region_agents.PAGE, region_agents.MARKS) == region_agents.tables(kept)
