"""A run that begins as a release: it plays as that from the first step, and says what it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.errors import ConfigurationError, WeirError
from policies.agents.settings import Ppo
from policies.env.draw import Draw
from policies.league.lineage import lineage
from policies.league.players import released
from policies.league.seen import warnings
from policies.released import residual_ppo
from policies.training.evaluate import release_suite
from policies.training.read_back import read_back
from policies.training.recipe import Recipe, load, of_document
from policies.training.release import release
from policies.training.start import start
from policies.training.train import train
from policies.training.watch import VALIDATION_SEED, validate
from tests.learning.test_resume import Broken, after, assert_same

pytestmark = pytest.mark.learning

FIRST = Recipe(
    "first",
    steps=3 * 6 * 9,
    scenarios=Draw(
        families={"hardware_4x": 1.0},
        endpoints=(8,),
        proxies=(32,),
        load=(0.6, 0.8),
        duration_s=10.0,
    ),
    settings=Ppo(slots=6, copies=2, epochs=2, batch=18, width=12, layers=1, learning_rate=0.01),
    check_every=1,
    check_cases=2,
)
LEARNED = {"width": 48, "layers": 2, "centred": True}
"""The shape of the installed release."""
SUITE = replace(release_suite(families=("sparse",)), loads=(0.7,), sizes=((8, 4),))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of its own."""
    folder = tmp_path_factory.mktemp("start") / "first"
    release(train(FIRST), folder, suite=SUITE)
    return folder


def begun(folder: Path) -> Recipe:
    """A recipe on another service that begins as that release."""
    draw = replace(FIRST.scenarios, families={"sparse": 1.0})
    recipe = replace(FIRST, name="second", scenarios=draw, steps=2 * 6 * 9)
    return replace(recipe, start=start(folder.name, folder.parent, "model"))


def test_it_plays_as_the_release_until_it_learns(first: Path) -> None:
    """The policy that has played the first rollout is checked and may be kept: it is the release,
    so what is kept is on the validation cases never behind what the run began as."""
    recipe = begun(first)
    more = train(recipe)
    actor = read_back(first / "model.onnx", 0.7).actor
    checks = recipe.checks.episodes(recipe.check_cases, VALIDATION_SEED)
    assert more.curve[0].ratio == validate(checks, actor, recipe.objective)
    assert more.ratio <= more.curve[0].ratio
    fresh = train(replace(recipe, start=None))
    assert fresh.curve[0].ratio != more.curve[0].ratio


def test_it_goes_on_where_it_was_stopped_and_never_from_another_release(
    first: Path, tmp_path: Path
) -> None:
    recipe = begun(first)
    with pytest.raises(Broken):
        train(recipe, logs=tmp_path, progress=after(2), checkpoint_s=0.0)
    other = replace(
        recipe,
        start=start("learned", tmp_path, "model"),
        settings=replace(FIRST.settings, **LEARNED),
    )
    with pytest.raises(WeirError, match="another recipe"):
        train(other, logs=tmp_path, resume=True)
    assert_same(train(recipe, logs=tmp_path, resume=True), train(recipe))


def test_its_manifest_and_card_say_what_it_began_as_and_all_that_it_has_seen(
    first: Path, tmp_path: Path
) -> None:
    recipe = begun(first)
    assert recipe.start is not None
    folder = tmp_path / "second"
    release(train(recipe), folder, suite=SUITE)
    manifest = json.loads((folder / "manifest.json").read_text())
    said = manifest["recipe"]["start"]
    assert (said["release"], said["digest"]) == ("first", recipe.start.digest)
    families = [{*one.recipe["scenarios"]["families"]} for one in lineage(manifest)]
    assert families == [{"sparse"}, {"hardware_4x"}]
    card = (folder / "card.md").read_text()
    assert "Trained on** the simulator only: families sparse" in card
    assert f"Began as** `first` (digest `{recipe.start.digest}`), trained on" in card
    again = of_document(manifest["recipe"])
    assert again.start is not None
    assert again.start.document() == said
    with pytest.raises(WeirError, match="first is told of and not at hand"):
        train(again)


def test_what_a_release_began_as_has_seen_is_no_longer_held_out(
    first: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "first"
    shutil.copytree(first, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["recipe"]["scenarios"]["families"] = {"two_regions": 1.0}
    manifest["training"]["log"] = {"decisions": 9, "services": 1, "digest": "sha256:0"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    release(train(begun(folder)), tmp_path / "second", suite=SUITE)
    told = " ".join(warnings(released("second", tmp_path / "second")))
    assert "second learned from a log" in told
    assert "second was trained on two_regions" in told
    assert "trained on 9 decisions about 1 services" in (tmp_path / "second/card.md").read_text()


def test_a_recipe_names_an_installed_policy_or_a_folder_from_its_own_on(
    first: Path, tmp_path: Path
) -> None:
    shutil.copytree(first, tmp_path / "releases" / "first")
    for named, folder in (("learned", residual_ppo()), ("releases/first", first)):
        (tmp_path / "r.yaml").write_text(f"name: x\nsteps: 10\nstart: {named}")
        found = load(tmp_path / "r.yaml").start
        assert found is not None
        assert found.release == named
        assert found.model == (folder / "model.onnx").read_bytes()


def changed(field: str, value: object) -> Callable[[Path], None]:
    """Write the manifest with another field."""

    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))

    return change


def other_model(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[1, 2")


@pytest.mark.parametrize(
    ("change", "more", "wanted"),
    [
        (other_model, "", "its manifest names another"),
        (no_manifest, "", "is that of no release"),
        (changed("base", "leastTime"), "", "corrects leastTime, and the recipe has the base model"),
        (changed("bound", 0.3), "", "is bounded by 0.3, and what is trained here by 0.7"),
        (changed("features", ["load"]), "", "other features"),
        (changed("recipe", None), "", "no recipe in its manifest"),
        (shutil.rmtree, "", "no installed distribution offers a released policy 'first'"),
        (lambda folder: None, "algorithm: sac", "ppo and a2c can begin as a release, sac cannot"),
    ],
)
def test_what_nothing_can_begin_as_is_refused_before_it_trains(
    first: Path, tmp_path: Path, change: Callable[[Path], None], more: str, wanted: str
) -> None:
    shutil.copytree(first, tmp_path / "first")
    change(tmp_path / "first")
    (tmp_path / "r.yaml").write_text(f"name: x\nsteps: 10\nstart: first\n{more}")
    with pytest.raises(ConfigurationError, match=wanted):
        load(tmp_path / "r.yaml")


def test_a_network_of_another_shape_is_told_with_what_to_set(first: Path) -> None:
    recipe = replace(begun(first), settings=replace(FIRST.settings, width=32))
    wanted = r"start: first: it has \{width: 12, layers: 1, centred: false\}.* asks for \{width: 32"
    with pytest.raises(WeirError, match=wanted):
        train(recipe)
