"""Runs on several processes, and on a Ray cluster, give what they give on one; sweeps; reports."""

# ruff: noqa: ANN401 - an executor takes anything

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from controlplane.errors import ConfigurationError
from policies.agents.settings import Ppo
from policies.console import bar
from policies.env.draw import Draw
from policies.env.simulated import Simulated
from policies.env.spread import Spread
from policies.training import cli
from policies.training import sweep as search
from policies.training.places import Local
from policies.training.recipe import Lesson, Recipe, load
from policies.training.report import report_of_runs, report_of_sweep
from policies.training.runs import trained
from policies.training.train import train
from tests.learning.short_runs import short
from tests.learning.test_resume import Broken, after, assert_same

pytestmark = pytest.mark.learning

SMALL = Recipe(
    "small",
    steps=2 * 6 * 9,
    scenarios=Draw(
        families={"sparse": 1.0, "hardware_4x": 1.0},
        endpoints=(8,),
        proxies=(32,),
        load=(0.6, 0.8),
        duration_s=10.0,
    ),
    settings=Ppo(slots=6, copies=2, epochs=2, batch=18),
    check_every=1,
    check_cases=2,
)
"""On the simulator: three cases a rollout, which two workers cannot share evenly."""


class Here(Executor):
    """Does at once what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.asked += 1
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class InThisProcess:
    """A place for tests: as many cores as one likes, all of them this one."""

    def __init__(self, count: int = 2) -> None:
        self.cores, self.executor = count, Here()

    @contextmanager
    def pool(self, size: int) -> Iterator[Executor]:
        yield self.executor

    @contextmanager
    def workers(self, count: int) -> Iterator[list[Executor]]:
        yield [self.executor] * count


# --- the unit of work changes nothing ----------------------------------------------------------


def test_cases_are_played_alike_however_many_play_them() -> None:
    world = Simulated(SMALL.scenarios)
    random = np.random.default_rng(1)
    whole = world.episodes(10, 3, 2)
    spread = [Spread(world, (Here(),) * n).episodes(10, 3, 2) for n in (1, 3, 9)]
    for _ in range(2):  # episodes
        tables = [one.reset() for one in (whole, *spread)]
        ended = False
        while not ended:
            for table in tables[1:]:
                assert np.array_equal(table, tables[0])
            actions = random.uniform(-1.0, 1.0, (10, 4)).astype(np.float32)
            steps = [one.step(actions) for one in (whole, *spread)]
            tables, ended = [step[0] for step in steps], steps[0][2]
            for _, rewards, over in steps[1:]:
                assert np.array_equal(rewards, steps[0][1])
                assert over == ended
        for one in spread:
            assert np.array_equal(one.ratios(), whole.ratios())


def test_one_run_is_the_same_alone_and_on_processes(tmp_path: Path) -> None:
    alone = train(SMALL)
    assert_same(trained([(SMALL, tmp_path)], Local(2))[0], alone)


def test_a_curriculum_goes_on_where_it_was_and_is_the_same_for_all_workers(tmp_path: Path) -> None:
    lesson = Lesson(until=0.5, families={"hardware_2x": 1.0}, load=(0.5, 0.6))
    recipe = replace(SMALL, steps=2 * SMALL.steps, curriculum=(lesson,))
    whole = train(recipe)
    assert whole.curve != train(replace(recipe, curriculum=())).curve
    for broken_after in (1, 3):  # in the first lesson, and after it
        with pytest.raises(Broken):
            train(
                recipe,
                logs=tmp_path,
                progress=after(broken_after),
                resume=True,
                checkpoint_s=0.0,
                workers=(Here(),) * (broken_after - 1),
            )
    assert_same(train(recipe, logs=tmp_path, resume=True), whole)
    assert_same(train(recipe, workers=(Here(), Here())), whole)


def test_several_runs_are_the_same_alone_and_on_processes(tmp_path: Path) -> None:
    recipes = replace(short("ppo"), seeds=(1, 2)).runs()
    said: list[int] = []
    on_two = trained(
        [(one, tmp_path / f"seed-{one.seed}") for one in recipes],
        Local(2),
        progress=lambda done, note: said.append(done),
    )
    for ours, recipe in zip(on_two, recipes, strict=True):
        assert_same(ours, train(recipe))
    assert said == sorted(said)
    assert said[-1] == sum(one.steps for one in recipes)


WAITING = """
import os, signal, time
from policies.training.places import Local
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Local().pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600.0).result()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_worker_ends_with_the_process_that_it_works_for(
    tmp_path: Path, how: signal.Signals
) -> None:
    """In the middle of what it does, be it hours; and who waited for it ends as well."""
    (tmp_path / "waiting.py").write_text(WAITING)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "waiting.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    ) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.send_signal(how)
        process.wait(20.0)
    deadline = time.monotonic() + 20.0
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("arguments", [("train",), ("sweep", "--over", "ppo.discount=0.8")])
def test_ctrl_c_is_told_in_a_line_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("policies.training.runs.trained", pressed)
    monkeypatch.setattr("policies.training.sweep.trained", pressed)
    app = typer.Typer()
    app.command("train")(cli.train)
    app.command("sweep")(cli.sweep)
    verb, *others = arguments
    wanted = [verb, "residual-ppo-quick", "--to", str(tmp_path / "to"), "--workers", "1", *others]
    done = CliRunner().invoke(app, wanted)
    assert done.exit_code == 130
    assert "stopped: " in done.stderr
    assert "goes on from" in done.stderr


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- sweeps ------------------------------------------------------------------------------------


def test_fields_and_values_as_they_are_typed() -> None:
    found = search.over(
        ["ppo.discount=0.8,0.9", "steps=10..20", "ppo.learning_rate=1e-4..1e-2:log"]
    )
    assert found == {
        "ppo.discount": [0.8, 0.9],
        "steps": search.Range(10, 20),
        "ppo.learning_rate": search.Range(1e-4, 1e-2, log=True),
    }
    assert search.over(["ppo.learning_rate=1e-4,0.001"]) == {"ppo.learning_rate": [1e-4, 1e-3]}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("steps", "wanted FIELD"),
        ("steps=1..x", "no number"),
        ("steps=2..1", "wanted a range"),
        ("steps=0..1:log", "above 0"),
        ("steps=1..2:lin", "no scale 'lin'"),
    ],
)
def test_what_is_typed_wrong_is_refused_in_words(text: str, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        search.over([text])


def test_a_grid_is_every_combination_and_a_draw_is_by_its_seed() -> None:
    grid: search.Over = {"a": [1, 2], "b": ["x", "y", "z"]}
    assert len(search.settings(grid)) == 6
    assert {tuple(one.values()) for one in search.settings(grid, 99)} == {
        (a, b) for a in (1, 2) for b in "xyz"
    }
    ranges: search.Over = {"n": search.Range(1, 9), "rate": search.Range(1e-4, 1e-1, log=True)}
    drawn = search.settings(ranges, 400, 5)
    assert drawn == search.settings(ranges, 400, 5)
    assert drawn != search.settings(ranges, 400, 6)
    assert {one["n"] for one in drawn} == set(range(1, 10))
    # Evenly on the logarithmic scale: half are below the geometric middle, give or take 4 sigma.
    assert abs(sum(one["rate"] < 10**-2.5 for one in drawn) - 200) < 4 * 10
    with pytest.raises(ValueError, match="say how many"):
        search.settings(ranges)


def test_a_setting_is_the_recipe_with_other_values() -> None:
    one = search.changed(
        SMALL,
        {"ppo.learning_rate": 1, "scenarios.families.hardware_4x": 2, "objective.errors": 3.0},
    )
    assert (one.settings.learning_rate, one.scenarios.families["hardware_4x"]) == (1.0, 2.0)
    assert one.objective.errors == 3.0
    assert search.changed(SMALL, {}) == SMALL


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"ppo.speed": 1}, "no field ppo.speed; where it would be there are slots"),
        ({"sac.tau": 0.1}, "no field sac.tau"),
        ({"seed": 3}, "no field to search over"),
        ({"ppo.epochs": 0.5}, "wanted int"),
        ({"ppo.batch": 7}, "wanted a divisor"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_in_words(
    values: dict[str, float], wanted: str
) -> None:
    with pytest.raises(ValueError, match=wanted):
        search.changed(SMALL, values)


def test_a_sweep_finds_the_better_setting_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = short("ppo")
    fields = {"ppo.learning_rate": [0.0, 5e-3]}
    place = InThisProcess()
    tried = search.sweep(base, fields, tmp_path, place, seeds=(1, 2))
    assert place.executor.asked == 4
    # A policy that does not learn stays its base, which is worse than one that does.
    assert [one.values["ppo.learning_rate"] for one in tried] == [5e-3, 0.0]
    assert tried[1].mean == pytest.approx(1.0, abs=1e-3)
    assert tried[0].mean < 1.0
    document = json.loads((tmp_path / search.RESULT).read_text())
    assert [one["mean"] for one in document["tried"]] == [one.mean for one in tried]
    report_of_sweep(base, tried, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert f"{tried[0].mean:.4f}" in page
    assert "<svg" in page
    assert (tmp_path / "sweep.png").stat().st_size > 5_000

    shutil.rmtree(min((tmp_path / "runs").iterdir()))  # one of four was not done
    again = InThisProcess()
    assert search.sweep(base, fields, tmp_path, again, seeds=(1, 2)) == tried
    assert again.executor.asked == 1

    monkeypatch.setattr("policies.training.train.code", lambda: "0123456789abcdef")
    with_other_code = InThisProcess()
    assert search.sweep(base, fields, tmp_path, with_other_code, seeds=(1, 2)) == tried
    assert with_other_code.executor.asked == 4
    assert len(list((tmp_path / "runs").iterdir())) == 8


# --- recipes, reports, the command -------------------------------------------------------------


def test_a_recipe_names_its_seeds(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\nsteps: 10\nseeds: [3, 5]\n")
    recipe = load(path)
    assert [one.seed for one in recipe.runs()] == [3, 5]
    assert not any(one.seeds for one in recipe.runs())
    path.write_text("name: x\nsteps: 10\nseeds: [3, 3]\n")
    with pytest.raises(ConfigurationError, match="one is there twice"):
        load(path)


def test_a_report_shows_every_seed_its_spread_and_losses(tmp_path: Path) -> None:
    runs = [train(one) for one in replace(short("ppo"), seeds=(1, 2, 3)).runs()]
    report_of_runs(runs, tmp_path)
    page = (tmp_path / "report.html").read_text()
    for run in runs:
        assert f"<td>{run.ratio:.4f}</td>" in page
    assert page.count("<svg") == 2
    assert page.count("<td>kept</td>") == 1
    assert "value_loss" in runs[0].updates[0].losses
    for name in ("curve.png", "losses.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_tensorboard_has_returns_ratios_and_losses(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(short("ppo"), logs=tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    names = set(events.Tags()["scalars"])
    assert {"training/return", "validation/mean_latency_ratio", "losses/value_loss"} <= names
    shown = [event.step for event in events.Scalars("training/return")]
    assert shown == [point.step for point in run.curve]


def test_the_command_searches_and_says_what_it_found(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: small\nsteps: 30\ncheck_every: 1\ncheck_cases: 2\n"
        "scenarios: {families: {hardware_2x: 1}, endpoints: [4], proxies: [8], duration_s: 6.0}\n"
        "ppo: {slots: 6, copies: 2, batch: 10}\n"
    )
    app = typer.Typer()
    app.command()(cli.sweep)
    arguments = [str(recipe), "--to", str(tmp_path / "s"), "--over", "ppo.epochs=1"]
    result = CliRunner().invoke(app, [*arguments, "--seeds", "1", "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "1 settings" in result.output
    assert json.loads((tmp_path / "s" / "sweep.json").read_text())["seeds"] == [1]
    assert CliRunner().invoke(app, [*arguments, "--seeds", "1,a"]).exit_code == 1
    for wrong, words in ((("--seeds", "1,1"), "there twice"), (("--draw", "0"), "at least one")):
        refused = CliRunner().invoke(app, [*arguments, *wrong])
        assert refused.exit_code == 1
        assert words in refused.stderr
    assert CliRunner().invoke(app, [*arguments, "--workers", "0"]).exit_code == 1


def test_the_bar_tells_the_rate_and_the_time_that_is_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    with bar(console, "training", 1_000) as advance:
        for done in (100, 300, 600):
            advance(done, "return +0.10")
            time.sleep(0.01)
    assert isinstance(console.file, io.StringIO)
    assert re.search(r"600/1,000 [\d,.]+/s \d:\d\d:\d\d return \+0.10", console.file.getvalue())


def test_a_bar_is_never_beyond_its_end() -> None:
    """The last rollout is played to its end, which may be beyond the steps that were asked for."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    with bar(console, "training", 100) as advance:
        advance(2_496)
    assert isinstance(console.file, io.StringIO)
    assert "100/100" in console.file.getvalue()
    assert "2,496" not in console.file.getvalue()
