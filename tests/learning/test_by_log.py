"""A release is judged by a log that it did not write, on a toy with a known optimum."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from controlplane.decision_files import DecisionFiles
from policies.agents.off_policy_evaluation import own
from policies.agents.offline import OfflineLearner
from policies.agents.registry import algorithm
from policies.league import cli
from policies.league.players import installed, released
from policies.training.by_log import Moves, judged, table
from policies.training.export import export, manifest
from policies.training.recipe import Recipe
from policies.training.served import served
from tests.learning.test_served_log import (
    LESSON,
    TICKS,
    WITHIN,
    Servers,
    log_of,
    reached,
    recipe,
)

pytestmark = pytest.mark.learning

FEW = recipe(updates=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that the loop wrote."""
    folder = tmp_path_factory.mktemp("served")
    asyncio.run(log_of(folder, Servers(40, 1), TICKS))
    return folder


@pytest.fixture(scope="module")
def learned(folder: Path) -> tuple[nn.Module, Mapping[str, float]]:
    """What `offline` finds in it, most of the way to the optimum, and what it says of that."""
    learner = algorithm("offline").learner(FEW.settings, LESSON.world, FEW.seed)
    assert isinstance(learner, OfflineLearner)
    learner.take(served(folder, FEW).log)
    told: list[Mapping[str, float]] = []
    learner.log_to(lambda _, losses: told.append(losses))
    learner.learn(1, lambda *_: None)
    return learner.actor(), told[0]


def a_release(folder: Path, actor: nn.Module, **training: object) -> Path:
    """A folder with this model."""
    folder.mkdir()
    digest = export(actor, folder / "model.onnx")
    wanted = Recipe(folder.name, 100)
    document = manifest(wanted, digest, "unknown", {"step": 1, "steps": 1, **training}, {})
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def turned(actor: nn.Module, by: float) -> nn.Module:
    """The same, so many times as far: -1 is the other way, 0 the base."""
    other = copy.deepcopy(actor)
    with torch.no_grad():
        other.head.weight *= by
        if other.head.bias is not None:
            other.head.bias *= by
    return other


def test_the_log_tells_the_better_from_the_worse(
    folder: Path, learned: tuple[nn.Module, Mapping[str, float]], tmp_path: Path
) -> None:
    """Truth is known: how far each is on the way from the base to the optimum."""
    actor, told = learned
    unseen = Servers(30, 2, exploration=0.0)
    asyncio.run(log_of(tmp_path / "unseen", unseen, ticks=4))
    last = list(DecisionFiles(tmp_path / "unseen").records())[-unseen.count :]
    players, truth = [], {}
    for name, by in (("near", 1.0), ("half", 0.5), ("base", 0.0), ("wrong", -1.0)):
        one = turned(actor, by)
        truth[name] = reached(last, one, unseen)
        players.append(released(name, a_release(tmp_path / name, one)))
    assert truth["near"] > WITHIN
    assert truth["wrong"] < -WITHIN
    found = judged(folder, players, FEW)
    by_name = {one["name"]: one for one in found["releases"]}
    values = {name: one["beyond"][0] for name, one in by_name.items()}
    assert sorted(values, key=values.__getitem__) == sorted(truth, key=truth.__getitem__)
    assert {name: one["verdict"] for name, one in by_name.items()} == {
        "near": "better", "half": "better", "base": "not shown", "wrong": "worse",
    }  # fmt: skip
    # The same as the learner said of it: the model that is exported is the one that was learned.
    near = by_name["near"]
    assert near["beyond"][0] == pytest.approx(told["off_policy_value"], abs=1e-3)
    assert near["beyond"][1] == pytest.approx(told["off_policy_least"], abs=1e-3)
    assert near["effective_sample_size"] == pytest.approx(told["effective_sample_size"], rel=1e-3)
    assert near["sample_size"] == told["sample_size"]
    for one in by_name.values():
        value, logged, beyond = (one[name][0] for name in ("value", "logged", "beyond"))
        assert value - logged == pytest.approx(beyond, abs=2e-4)
        assert one["logged"] == near["logged"]
    # The policy that wrote the log is the base: all of the log speaks for it.
    assert by_name["base"]["effective_sample_size"] == pytest.approx(near["sample_size"], rel=1e-3)
    assert by_name["base"]["beyond"][0] == pytest.approx(0.0, abs=0.02)
    assert found["log"]["decisions"] == 40 * (TICKS - 1)
    shown = table(found)
    assert shown.rows[0][0] == "near"
    assert shown.rows[0][-1] == "better"


def test_what_is_added_to_all_groups_moves_nothing_and_is_no_other_policy(
    learned: tuple[nn.Module, Mapping[str, float]], folder: Path, tmp_path: Path
) -> None:
    """A release need not be centred, and shares are."""
    actor, _ = learned

    class Shifted(nn.Module):  # type: ignore[misc]
        def forward(self, seen: torch.Tensor) -> torch.Tensor:
            moves: torch.Tensor = 0.5 * actor(seen) + 0.3 * seen[:, :, -1]
            return moves

    log = served(folder, FEW).log
    plain, moved = (
        Moves((a_release(tmp_path / name, one) / "model.onnx").read_bytes(), 0.7)(log.table)
        for name, one in (("plain", turned(actor, 0.5)), ("shifted", Shifted()))
    )
    assert float(plain.abs().max()) > 0.1
    assert torch.allclose(plain, moved, atol=1e-5)


def test_a_release_that_learned_from_the_log_and_one_that_is_far_from_it_are_said_to_be(
    folder: Path, learned: tuple[nn.Module, Mapping[str, float]], tmp_path: Path
) -> None:
    actor, _ = learned
    digest = served(folder, FEW).said["digest"]
    mine = a_release(tmp_path / "mine", actor, log={"digest": digest})
    far = a_release(tmp_path / "far", turned(actor, -8.0))
    players = [released("mine", mine), released("far", far)]
    first, second = judged(folder, players, FEW)["releases"]
    assert "mine learned from this very log" in first["notes"][0]
    assert second["effective_sample_size"] < 100
    assert "says next to nothing" in second["notes"][0]


def test_the_value_of_the_log_is_the_mean_of_what_it_got() -> None:
    rewards = np.random.default_rng(1).normal(2.0, 1.0, 400)
    found = own(rewards, np.arange(400))
    assert found.value == pytest.approx(rewards.mean())
    assert found.error == pytest.approx(rewards.std(ddof=1) / 20.0)
    assert found.most - found.value == pytest.approx(found.value - found.least)


def weir(*arguments: str | Path) -> Any:  # noqa: ANN401 - of click
    app = typer.Typer()
    app.command("evaluate")(cli.evaluate)
    app.command("league")(cli.league)
    return CliRunner().invoke(app, ["evaluate", *(str(one) for one in arguments)])


def test_the_verb_judges_what_is_installed_or_named(folder: Path, tmp_path: Path) -> None:
    done = weir("--log", folder, "-o", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [one["name"] for one in found["releases"]] == [one.name for one in installed()]
    shown = weir("--log", folder)
    assert "beyond the logged" in shown.stdout
    for options, words in (
        (("--log", folder, "--quick"), "nothing is played, so --quick says nothing"),
        (("--log", tmp_path), "has no log of decisions"),
        (("--log", folder, "--release", tmp_path), "manifest.json cannot be read"),
    ):
        wrong = weir(*options)
        assert wrong.exit_code == 1
        assert words in " ".join(wrong.stderr.split())


def test_goals_that_no_log_tells_are_refused(
    folder: Path, learned: tuple[nn.Module, Mapping[str, float]], tmp_path: Path
) -> None:
    one = a_release(tmp_path / "tail", learned[0])
    document = json.loads((one / "manifest.json").read_text())
    document["objective"] |= {"latency_p99": 0.5}
    (one / "manifest.json").write_text(json.dumps(document))
    done = weir("--log", folder, "--release", one)
    assert done.exit_code == 1
    assert "counts latency_p99, which a log" in " ".join(done.stderr.split())
