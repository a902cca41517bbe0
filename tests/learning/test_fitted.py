"""A service that was fitted to recorded metrics is trained on, and players are compared on it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from controlplane.errors import ConfigurationError, WeirError
from policies.agents.settings import Ppo
from policies.env.draw import Draw
from policies.env.fitted import FittedDraw
from policies.league import cli
from policies.league.fitted import notes, played, stretches, table
from policies.league.players import FULL_SCAN, MODEL, everybody, released, those
from policies.released import residual_ppo
from policies.simulator import Case, Station, Steps, Traffic, Work
from policies.simulator.calibrate import calibrate
from policies.simulator.fitted import Fitted
from policies.simulator.recording import Recording
from policies.training.card import card
from policies.training.evaluate import release_suite
from policies.training.recipe import Recipe, load, of_document
from policies.training.release import judge, release
from policies.training.train import made_by, train

pytestmark = pytest.mark.learning

SPEEDS = (0.5, 1.0, 1.0, 2.0)


@pytest.fixture(scope="module")
def cart() -> dict[str, Any]:
    """What `weir sim calibrate` says of a minute of four unlike endpoints."""
    capacity = 2 * sum(SPEEDS) / 0.05
    truth = Case(
        "truth",
        tuple(Station(2, Steps.of(speed)) for speed in SPEEDS),
        Traffic(Steps((0.0, 30.0), (0.5 * capacity, 0.8 * capacity))),
        Work(0.05),
        proxies=4,
        duration_s=60.0,
    )
    recording = Recording.of(truth, seed=7)
    fit = calibrate(recording, proxies=4, name="cart", workers=(2,), laws=(Work(1.0),))
    made: dict[str, Any] = json.loads(json.dumps(fit.document()))
    return made


@pytest.fixture
def folder(cart: dict[str, Any], tmp_path: Path) -> Path:
    """With the scenario in it."""
    (tmp_path / "cart.json").write_text(json.dumps(cart, indent=1))
    return tmp_path


def recipe(folder: Path, scenarios: str, more: str = "") -> Recipe:
    """Two small rollouts."""
    path = folder / "r.yaml"
    path.write_text(
        f"name: cart\nsteps: 312\nscenarios: {scenarios}\ncheck_every: 1\ncheck_cases: 2\n"
        f"ppo: {{slots: 4, copies: 2, batch: 78, epochs: 1, width: 8, layers: 1}}\n{more}"
    )
    return load(path)


# --- what is drawn --------------------------------------------------------------------------------


def test_a_stretch_has_the_rates_of_the_recording_from_there_on(cart: dict[str, Any]) -> None:
    fitted = Fitted(cart)
    whole = fitted.case
    assert whole.duration_s == 60.0
    begins = fitted.begins_s(40.0)
    assert begins.tolist() == list(np.arange(21.0))
    for at in (0.0, 7.0, 20.0):
        case = fitted.stretch(at, 40.0)
        assert case.duration_s == 40.0
        assert (case.stations, case.work, case.proxies) == (whole.stations, whole.work, 4)
        for t in (0.0, 0.5, 12.0, 39.9):
            assert case.traffic.rate_rps.at(t) == whole.traffic.rate_rps.at(at + t)
        assert max(case.traffic.rate_rps.from_s) < 40.0


def test_a_quiet_or_short_recording_is_refused(cart: dict[str, Any]) -> None:
    quiet = cart | {"rate_rps": {"from_s": [0.0, 45.0], "value": [0.5, 200.0]}}
    with pytest.raises(ValueError, match=r"cart never had 100 requests in 40 s"):
        Fitted(quiet).begins_s(40.0)
    # Where only its end was busy, only its end is played.
    busy = cart | {"rate_rps": {"from_s": [0.0, 10.0, 20.0], "value": [0.5, 0.5, 200.0]}}
    assert Fitted(busy | {"duration_s": 60.0}).begins_s(10.0).tolist() == [20.0]
    with pytest.raises(ValueError, match=r"fitted to 60 s, and 90 s are played at a time"):
        Fitted(cart).begins_s(90.0)


def test_the_fitted_service_is_drawn_with_requests_and_stretches_of_its_own(folder: Path) -> None:
    draw = recipe(folder, "{fitted: cart.json}").scenarios
    assert isinstance(draw, FittedDraw)
    random = np.random.default_rng(1)
    drawn = [draw.case(random) for _ in range(40)]
    assert {case.name for case, _ in drawn} == {"cart"}
    assert len({seed for _, seed in drawn}) == 40
    assert len({case.traffic.rate_rps for case, _ in drawn}) > 5
    assert {case.orca for case, _ in drawn} == {True, False}
    assert all(0.1 <= case.delay_s <= 0.5 for case, _ in drawn)


def test_families_come_beside_it_as_often_as_is_said(folder: Path, cart: dict[str, Any]) -> None:
    (folder / "web.json").write_text(json.dumps(cart | {"name": "web"}))
    both = recipe(
        folder,
        "{fitted: [{scenario: cart.json, odds: 2}, web.json], families: {sparse: 1}, "
        "endpoints: [8]}",
    ).scenarios
    random = np.random.default_rng(1)
    names = [both.case(random)[0].name for _ in range(400)]
    parts = {name: names.count(name) / 400 for name in set(names)}
    assert parts == {
        "cart": pytest.approx(0.5, abs=0.08),
        "web": pytest.approx(0.25, abs=0.08),
        "sparse": pytest.approx(0.25, abs=0.08),
    }
    tasks = both.by_family()
    assert [one.case(random)[0].name for one in tasks] == ["sparse", "cart", "web"]
    assert type(tasks[0]) is Draw


# --- recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenarios", "words"),
    [
        ("{fitted: none.json}", r"none\.json cannot be read: No such file"),
        ("{fitted: r.yaml}", r"r\.yaml is no JSON"),
        ("{fitted: list.json}", r"list\.json: wanted a mapping"),
        ("{fitted: bare.json}", r"bare\.json: no scenario of .*: no 'work'"),
        ("{fitted: old.json}", r"old\.json: no scenario of .*: it is not a scenario of version 1"),
        ("{fitted: nobody.json}", r"nobody\.json: no scenario of .*wanted a proxy"),
        ("{fitted: odd.json}", r"odd\.json: no scenario of"),
        ("{fitted: [cart.json, cart.json]}", "two are called the same: cart, cart"),
        ("{fitted: []}", "wanted a scenario or more"),
        ("{fitted: 3}", "wanted a file of `weir sim calibrate --to`, or a list of them, got 3"),
        ("{fitted: [3]}", "wanted a file, or a mapping with a scenario"),
        ("{fitted: [{scenario: cart.json, odds: 0}]}", "wanted odds above 0"),
        ("{fitted: [{scenario: cart.json, digest: x}]}", "has the digest sha256:.*, not x"),
        ("{fitted: cart.json, duration_s: 90}", "fitted to 60 s, and 90 s are played"),
        ("{fited: cart.json}", "no field fited; there are .*fitted"),
    ],
)
def test_what_is_no_scenario_is_refused_in_words(
    folder: Path, cart: dict[str, Any], scenarios: str, words: str
) -> None:
    (folder / "list.json").write_text("[]")
    (folder / "bare.json").write_text('{"version": 1, "name": "bare"}')
    (folder / "old.json").write_text(json.dumps(cart | {"version": 0}))
    (folder / "nobody.json").write_text(json.dumps(cart | {"proxies": 0}))
    (folder / "odd.json").write_text(json.dumps(cart | {"capacity_rps": [float("nan")] * 4}))
    with pytest.raises(ConfigurationError, match=words):
        recipe(folder, scenarios)


def test_teams_and_regions_have_no_fitted_service(folder: Path) -> None:
    for more in ("base: leastTime", "machines: shared"):
        text = f"name: x\nsteps: 9\nscenarios: {{fitted: cart.json}}\nalgorithm: shared-ppo\n{more}"
        (folder / "t.yaml").write_text(text)
        with pytest.raises(ConfigurationError, match="services of one region with machines of"):
            load(folder / "t.yaml")


def test_a_recipe_is_in_its_document_with_what_was_fitted(
    folder: Path, cart: dict[str, Any]
) -> None:
    wanted = recipe(folder, "{fitted: cart.json, families: {sparse: 1}}")
    document = json.loads(json.dumps(wanted.document()))
    (fitted,) = document["scenarios"]["fitted"]
    assert fitted["scenario"] == cart
    assert fitted["digest"] == Fitted(cart).digest
    assert of_document(document) == wanted
    fitted["scenario"]["proxies"] = 5
    with pytest.raises(ValueError, match="has the digest"):
        of_document(document)
    # How the file is written is no matter, what it says is.
    (folder / "cart.json").write_text(json.dumps(cart, sort_keys=True))
    again = recipe(folder, "{fitted: cart.json, families: {sparse: 1}}")
    assert [one.digest for one in _fitted(again)] == [one.digest for one in _fitted(wanted)]
    (folder / "cart.json").write_text(json.dumps(cart | {"proxies": 5}))
    other = recipe(folder, "{fitted: cart.json, families: {sparse: 1}}")
    assert made_by(other)["recipe"] != made_by(wanted)["recipe"]


def _fitted(one: Recipe) -> tuple[Fitted, ...]:
    assert isinstance(one.scenarios, FittedDraw)
    return one.scenarios.fitted


# --- from recipe to release -----------------------------------------------------------------------


def test_a_policy_is_trained_on_it_and_its_release_says_so(
    folder: Path, cart: dict[str, Any]
) -> None:
    wanted = recipe(folder, "{fitted: cart.json}")
    assert isinstance(wanted.settings, Ppo)
    told: list[int] = []
    trained = train(wanted, logs=folder / "logs", progress=lambda step, _: told.append(step))
    assert max(told) == 312  # two rollouts of four slots
    assert 0.5 < trained.ratio < 1.5
    suite = replace(release_suite(families=("sparse",)), loads=(0.7,), sizes=((4, 2),))
    evaluation = release(trained, folder / "cart", suite=suite)
    assert list(evaluation["held out"]) == ["families"]  # it never saw any
    manifest = json.loads((folder / "cart" / "manifest.json").read_text())
    digest = Fitted(cart).digest
    assert manifest["recipe"]["scenarios"]["fitted"][0]["digest"] == digest
    said = (folder / "cart" / "card.md").read_text()
    assert (
        f"`cart`, fitted to 60 s of recorded metrics (4 endpoints, 4 proxies, digest `{digest}`)"
        in said
    )
    assert said == card(
        manifest, evaluation, json.loads((folder / "cart" / "importance.json").read_text())
    )
    assert judge(folder / "cart", suite=suite) == evaluation
    (note,) = notes(Fitted(cart), [released("cart", folder / "cart"), *those([MODEL])])
    assert note.startswith("cart was trained on this service")
    assert notes(Fitted(cart | {"proxies": 5}), [released("cart", folder / "cart")]) == []
    # Another file under the same name is another run.
    (folder / "cart.json").write_text(json.dumps(cart | {"proxies": 5}))
    with pytest.raises(WeirError, match="made with another recipe"):
        train(recipe(folder, "{fitted: cart.json}"), logs=folder / "logs", resume=True)


# --- the players on it ----------------------------------------------------------------------------


def test_players_are_compared_on_the_service(cart: dict[str, Any]) -> None:
    chosen = stretches(Fitted(cart), seeds=2)
    assert len({one.seed for one in chosen}) == 2
    assert all(0.45 < one.load < 0.85 for one in chosen)
    found = played(chosen, those([FULL_SCAN, MODEL]), jobs=1)
    assert found["service"]["digest"] == Fitted(cart).digest
    by_name = {one["name"]: one for one in found["players"]}
    assert set(by_name) == {FULL_SCAN, MODEL}
    full, model = by_name[FULL_SCAN], by_name[MODEL]
    assert full["to"][FULL_SCAN]["mean"] == [1.0, 1.0, 1.0]
    assert model["to"][MODEL]["p99"] == [1.0, 1.0, 1.0]
    ratio = model["to"][FULL_SCAN]["mean"][0]
    assert ratio == pytest.approx(model["mean_s"] / full["mean_s"], rel=1e-3)
    assert ratio != 1.0
    assert found == played(chosen, those([FULL_SCAN, MODEL]), jobs=2)
    shown = table(found)
    assert shown.title.startswith("cart: 4 endpoints, 4 Envoys, 2 stretches of 40 s at loads of ")
    assert len(shown.rows) == 2
    with pytest.raises(ValueError, match="for training"):
        stretches(Fitted(cart), seeds=2, first_seed=7)


def weir(*arguments: str) -> Any:  # noqa: ANN401 - of click
    app = typer.Typer()
    app.command("evaluate")(cli.evaluate)
    app.command("league")(cli.league)
    return CliRunner().invoke(app, ["evaluate", *arguments])


def test_the_verb_plays_everybody_on_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    options = ("--scenario-file", str(folder / "cart.json"), "--seeds", "2", "--jobs", "1")
    done = weir(*options, "--to", str(folder / "to" / "mine"), "-o", "json")
    assert done.exit_code == 0, done.output
    (service,) = json.loads(done.stdout)["services"]
    assert {one["name"] for one in service["players"]} == {one.name for one in everybody()}
    assert json.loads((folder / "to" / "mine.json").read_text())["services"] == [service]
    shown = weir(*options, "--release", str(residual_ppo()))
    assert shown.exit_code == 0, shown.output
    assert "cart: 4 endpoints, 4 Envoys" in shown.stdout
    assert "mean / model" in shown.stdout
    assert f"{residual_ppo().name} (released)" in shown.stdout
    assert not list(folder.glob("league*"))


def test_what_does_not_fit_is_refused_before_anything_is_played(folder: Path) -> None:
    (folder / "none.json").write_text("{}")
    cart = ("--scenario-file", str(folder / "cart.json"))
    for wrong, words in (
        (("--scenario-file", str(folder / "nowhere.json")), "cannot be read"),
        (("--scenario-file", str(folder / "none.json")), "it is not a scenario of version 1"),
        ((*cart, "--quick"), "--scenario-file: --quick is of the held-out cases"),
        ((*cart, "--family", "sparse"), "--family is of the held-out cases"),
        ((*cart, "--seeds", "0"), "wanted at least 1 seed"),
        ((*cart, "--jobs", "0"), "wanted at least 1"),
        ((*cart, "--release", str(folder)), "manifest.json cannot be read"),
    ):
        done = weir(*wrong)
        assert done.exit_code == 1
        assert words in " ".join(done.stderr.split())
        assert "playing" not in done.stderr
