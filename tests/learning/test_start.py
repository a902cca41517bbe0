"""A run that begins as a release: it plays as that from the first step, and says what it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from controlplane.errors import ConfigurationError, WeirError
from controlplane.model.features import FEATURES
from policies.agents.network import Actor, Bounded
from policies.agents.registry import ALGORITHMS, Begins, algorithm
from policies.agents.settings import A2c, Ppo
from policies.env.draw import Draw
from policies.league.fitted import notes
from policies.league.lineage import MOST, Seen
from policies.league.players import released
from policies.league.seen import warnings
from policies.released import residual_ppo
from policies.training.evaluate import release_suite
from policies.training.export import export
from policies.training.read_back import read_back
from policies.training.recipe import Recipe, load, of_document
from policies.training.release import judge, release
from policies.training.start import at_hand
from policies.training.train import train
from policies.training.watch import VALIDATION_SEED, validate
from tests.learning.short_runs import short
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
SUITE = replace(
    release_suite(families=("sparse", "hardware_4x", "bursty")), loads=(0.7,), sizes=((8, 4),)
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of its own."""
    folder = tmp_path_factory.mktemp("start") / "first"
    release(train(FIRST), folder, suite=SUITE)
    return folder


def begun(folder: Path, **changes: object) -> Recipe:
    """A recipe on another service that begins as that release."""
    draw = replace(FIRST.scenarios, families={"sparse": 1.0})
    recipe = replace(FIRST, name="second", scenarios=draw, steps=2 * 6 * 9)
    begins = at_hand(f"./{folder.name}", folder.parent, "model")
    return replace(recipe, start=begins, **changes)  # type: ignore[arg-type]


A2C = {
    "algorithm": "a2c",
    "settings": A2c(slots=6, copies=2, width=12, layers=1, centred=False, every=1),
}


@pytest.mark.parametrize("changes", [{}, A2C], ids=["ppo", "a2c"])
def test_what_is_kept_is_never_behind_what_the_run_began_as(
    first: Path, changes: dict[str, object]
) -> None:
    """The release itself is checked before anything is learned, whatever learns."""
    recipe = begun(first, **changes)
    actor = read_back(first / "model.onnx", 0.7).actor
    checks = recipe.checks.episodes(recipe.check_cases, VALIDATION_SEED)
    release_itself = validate(checks, actor, recipe.objective)
    ended = train(recipe)
    assert ended.ratio <= release_itself
    never = replace(recipe, settings=replace(recipe.settings, learning_rate=1e-12))
    kept = train(never)
    assert kept.ratio == pytest.approx(release_itself, rel=1e-9)
    table = torch.rand(2, 3, len(FEATURES))
    assert torch.allclose(kept.actor(table), actor(table), atol=1e-6)
    fresh = train(replace(never, start=None))
    assert not torch.allclose(fresh.actor(table), actor(table), atol=1e-6)


def test_ppo_plays_its_first_rollout_as_the_release(first: Path) -> None:
    recipe = begun(first)
    actor = read_back(first / "model.onnx", 0.7).actor
    checks = recipe.checks.episodes(recipe.check_cases, VALIDATION_SEED)
    assert train(recipe).curve[0].ratio == validate(checks, actor, recipe.objective)


def test_it_goes_on_where_it_was_stopped_and_never_from_another_release(
    first: Path, tmp_path: Path
) -> None:
    recipe = begun(first)
    with pytest.raises(Broken):
        train(recipe, logs=tmp_path, progress=after(2), checkpoint_s=0.0)
    release(train(replace(FIRST, seed=9)), tmp_path / "other", suite=SUITE)
    with pytest.raises(WeirError, match="another recipe"):
        train(begun(tmp_path / "other"), logs=tmp_path, resume=True)
    shutil.copytree(first, tmp_path / "elsewhere")
    again = train(begun(tmp_path / "elsewhere"), logs=tmp_path, resume=True)
    assert_same(again, train(recipe))


def test_its_manifest_and_card_say_what_it_began_as_and_all_that_it_has_seen(
    first: Path, tmp_path: Path
) -> None:
    recipe = begun(first)
    assert recipe.start is not None
    folder = tmp_path / "second"
    evaluation = release(train(recipe), folder, suite=SUITE)
    manifest = json.loads((folder / "manifest.json").read_text())
    said = manifest["recipe"]["start"]
    assert (said["release"], said["digest"]) == ("first", recipe.start.digest)
    assert str(first.parent) not in json.dumps(manifest)
    assert Seen.of(manifest).families == {"sparse", "hardware_4x"}
    assert evaluation["held out"]["families"]["learned/model"]["cases"] == 1  # bursty
    assert judge(folder, suite=SUITE)["held out"] == evaluation["held out"]
    card = (folder / "card.md").read_text()
    assert "Trained on** the simulator only: families sparse" in card
    assert f"Began as** `first` (digest `{recipe.start.digest}`), trained on" in card
    again = of_document(manifest["recipe"])
    assert again.start is not None
    assert again.start.document() == said
    with pytest.raises(WeirError, match="second began as first, which a manifest tells of"):
        train(again)


def test_what_a_release_began_as_has_seen_is_no_longer_held_out(
    first: Path, tmp_path: Path
) -> None:
    folder = changed_copy(first, tmp_path / "first", families={"two_regions": 1.0}, fitted=("d1",))
    release(train(begun(folder)), tmp_path / "second", suite=SUITE)
    told = " ".join(warnings(released("second", tmp_path / "second")))
    assert "second was trained on two_regions" in told
    assert "several regions" not in (tmp_path / "second" / "card.md").read_text()
    manifest = json.loads((tmp_path / "second" / "manifest.json").read_text())
    assert manifest["recipe"]["start"]["recipe"]["scenarios"]["fitted"][0]["digest"] == "d1"
    fitted: Any = SimpleNamespace(digest="d1")
    (note,) = notes(fitted, [released("second", tmp_path / "second")])
    assert "second was trained on this service" in note


def test_a_log_that_a_release_began_with_is_told_too(first: Path, tmp_path: Path) -> None:
    log = {"decisions": 9, "services": 1, "digest": "sha256:0"}
    folder = changed_copy(first, tmp_path / "first", log=log)
    release(train(begun(folder)), tmp_path / "second", suite=SUITE)
    told = " ".join(warnings(released("second", tmp_path / "second")))
    assert "second learned from a log" in told
    assert "trained on 9 decisions about 1 services" in (tmp_path / "second/card.md").read_text()


def test_a_recipe_names_an_installed_policy_or_a_folder_from_its_own_on(
    first: Path, tmp_path: Path
) -> None:
    shutil.copytree(first, tmp_path / "releases" / "first")
    shape = {"learned": "{centred: true}", "releases/first": "{width: 12, layers: 1}"}
    for named, folder in (("learned", residual_ppo()), ("releases/first", first)):
        text = f"name: x\nsteps: 10\nstart: {named}\nppo: {shape[named]}"
        (tmp_path / "r.yaml").write_text(text)
        found = load(tmp_path / "r.yaml").start
        assert found is not None
        assert found.release == json.loads((folder / "manifest.json").read_text())["name"]
        assert found.model == (folder / "model.onnx").read_bytes()


def changed_copy(
    first: Path,
    to: Path,
    *,
    families: dict[str, float] | None = None,
    fitted: tuple[str, ...] = (),
    log: dict[str, object] | None = None,
) -> Path:
    """The release with a manifest that says that it was trained on something else."""
    shutil.copytree(first, to)
    manifest = json.loads((to / "manifest.json").read_text())
    scenarios = manifest["recipe"]["scenarios"]
    if families is not None:
        scenarios["families"] = families
    one = {"name": "cart", "duration_s": 60.0, "capacity_rps": [1.0], "proxies": 2}
    scenarios["fitted"] = [{"scenario": one, "digest": digest} for digest in fitted]
    if log is not None:
        manifest["training"]["log"] = log
    (to / "manifest.json").write_text(json.dumps(manifest))
    return to


def changed(field: str, value: object) -> Callable[[Path], None]:
    """Write the manifest with another field."""

    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))

    return change


def other_model(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")


def no_model_of_ours(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"")
    changed("digest", "sha256:" + hashlib.sha256(b"").hexdigest())(folder)


def squashed(folder: Path) -> None:
    """As one of those with a replay buffer."""
    actor = Bounded(Actor(12, 1))
    changed("digest", export(actor, folder / "model.onnx"))(folder)


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[1, 2")


def large(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b" " * (16 * 2**20 + 1))


def old(folder: Path) -> None:
    """The last of many."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for _ in range(MOST - 1):
        start = {"release": "x", "digest": "y", "recipe": manifest["recipe"]}
        manifest = {**manifest, "recipe": {**manifest["recipe"], "start": start}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "more", "wanted"),
    [
        (other_model, "", "its manifest names another"),
        (no_model_of_ours, "", "not a network of this version"),
        (squashed, "", "was trained by ppo, whose network is another"),
        (no_manifest, "", "is not that of a release"),
        (large, "", "is larger than 16777216 bytes"),
        (old, "", f"is the last of {MOST} that each began as the one before"),
        (changed("format", 2), "", "has the format 2"),
        (changed("base", "leastTime"), "", "corrects leastTime, and the recipe has the base model"),
        (changed("bound", 0.3), "", "is bounded by 0.3, and what is trained here by 0.7"),
        (changed("features", ["load"]), "", "other features"),
        (changed("recipe", None), "", "is not that of a release"),
        (changed("recipe", {}), "", "is not that of a release"),
        (changed("recipe", {"start": "learned"}), "", "is not that of a release"),
        (changed("training", None), "", "is not that of a release"),
        (changed("training", {"log": "x"}), "", "is not that of a release"),
        (shutil.rmtree, "", "first is neither an installed policy nor a folder, .*first"),
        (lambda folder: None, "algorithm: sac", "ppo and a2c can begin as a release, sac cannot"),
        (
            lambda folder: None,
            "ppo: {width: 32}",
            r"first has \{width: 12, layers: 1, centred: false\}, .* asks for \{width: 32",
        ),
    ],
)
def test_what_nothing_can_begin_as_is_refused_before_it_trains(
    first: Path, tmp_path: Path, change: Callable[[Path], None], more: str, wanted: str
) -> None:
    shutil.copytree(first, tmp_path / "first")
    change(tmp_path / "first")
    (tmp_path / "r.yaml").write_text(f"name: x\nsteps: 10\nstart: ./first\n{more}")
    with pytest.raises(ConfigurationError, match=wanted):
        load(tmp_path / "r.yaml")


@pytest.mark.parametrize("given", ["3", "''", "[a]", "{release: a, digest: b, recipe: {}}"])
def test_a_start_is_a_name(tmp_path: Path, given: str) -> None:
    (tmp_path / "r.yaml").write_text(f"name: x\nsteps: 10\nstart: {given}")
    with pytest.raises(ConfigurationError, match="start: wanted an installed policy or a folder"):
        load(tmp_path / "r.yaml")


def test_a_folder_never_takes_the_place_of_an_installed_policy(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "learned")
    (tmp_path / "r.yaml").write_text("name: x\nsteps: 10\nstart: learned")
    with pytest.raises(ConfigurationError, match=r"and a folder: write \./learned"):
        load(tmp_path / "r.yaml")


def test_a_manifest_that_says_too_little_of_a_start_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted a release with its digest"):
        of_document({"name": "x", "steps": 10, "start": {"release": "first"}})


def test_who_may_have_a_start_can_begin() -> None:
    for name in (name for name, one in ALGORITHMS.items() if one.begins):
        learner = algorithm(name).learner(short(name).settings, short(name).world, 1)
        assert isinstance(learner, Begins)
