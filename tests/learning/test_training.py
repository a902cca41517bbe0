"""Learning proves itself where the answer is known, repeats itself, and is exported as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from controlplane.errors import ConfigurationError, WeirError
from controlplane.model.features import FEATURES
from policies.agents.network import PRESENT, Actor, Released
from policies.agents.settings import Ppo
from policies.agents.vector import beyond_the_others
from policies.env.draw import Draw
from policies.env.simulated import Simulated
from policies.league.lineage import Seen
from policies.released import residual_ppo
from policies.simulator import HELD_OUT_ENDPOINTS, HELD_OUT_FAMILIES, HELD_OUT_SEEDS
from policies.training import cli
from policies.training.asked import INPUTS, random_services
from policies.training.card import card
from policies.training.evaluate import evaluated, held_out_of, release_suite
from policies.training.export import TOLERANCE, export, largest_difference
from policies.training.recipe import FOLDER, Lesson, Recipe, load
from policies.training.release import FILES, judge, release
from policies.training.train import train

pytestmark = pytest.mark.learning

TINY = Recipe(
    "tiny",
    steps=2 * 4 * 5,
    scenarios=Draw(families={"hardware_2x": 1.0}, endpoints=(4,), proxies=(8,), duration_s=6.0),
    settings=Ppo(slots=4, copies=2, epochs=2, batch=10),
    check_every=1,
    check_cases=2,
)


def verb(function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer()
    app.command()(function)
    return app


def test_copies_of_a_case_are_measured_by_one_another() -> None:
    rewards = np.array([1.0, 3.0, 5.0, -10.0, -10.0, -7.0], np.float32)
    assert beyond_the_others(rewards, 3).tolist() == [-3.0, 0.0, 3.0, -1.5, -1.5, 3.0]
    assert beyond_the_others(rewards, 1).tolist() == rewards.tolist()


def test_one_seed_gives_one_policy_and_another_seed_another() -> None:
    first, second = train(TINY), train(TINY)
    assert first.curve == second.curve
    for a, b in zip(first.actor.parameters(), second.actor.parameters(), strict=True):
        assert torch.equal(a, b)
    other = train(replace(TINY, seed=2))
    assert other.curve != first.curve


def test_the_same_recipe_and_seed_give_the_same_release(tmp_path: Path) -> None:
    """Model, evaluation, manifest and card, to the last byte."""
    suite = replace(
        release_suite(families=("hardware_4x",)), loads=(0.7,), sizes=((8, 4), (10, 16))
    )
    made = [tmp_path / name / "tiny" for name in ("one", "two")]
    for folder in made:
        evaluation = release(train(TINY), folder, suite=suite)
        assert evaluation["overall"]["learned/model"]["cases"] == 2
    one, two = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in made)
    assert set(one) >= {"model.onnx", "manifest.json", "evaluation.json", "card.md"}
    assert [name for name in one if one[name] != two[name]] == []
    for name in ("evaluation.json", "card.md", "importance.json"):
        (made[1] / name).write_text("{}")
    manifest = json.loads(one["manifest.json"])
    (made[1] / "manifest.json").write_text(json.dumps(manifest | {"evaluation": {}}))
    judge(made[1], suite=suite)
    judged = {p.name: p.read_bytes() for p in made[1].iterdir()}
    assert [name for name in one if one[name] != judged[name]] == []


def test_what_is_no_release_is_not_judged(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match="is no release of this version"):
        judge(tmp_path)
    (tmp_path / "manifest.json").write_text('{"bound": 0.7, "training": {}, "recipe": {}}')
    (tmp_path / "model.onnx").write_bytes((residual_ppo() / "model.onnx").read_bytes())
    with pytest.raises(WeirError, match="is no release of this version"):
        judge(tmp_path)


def lively(seed: int = 0) -> Actor:
    """An actor that is far from its first answer, which is nothing."""
    torch.manual_seed(seed)
    actor = Actor(48, 2)
    torch.nn.init.normal_(actor.head.weight, std=0.3)
    actor.eval()
    return actor


def some_table(services: int, groups: int, seed: int = 1) -> torch.Tensor:
    table = torch.from_numpy(
        np.random.default_rng(seed).normal(size=(services, groups, len(FEATURES)))
    ).float()
    table[:, :, PRESENT] = 1.0
    return table


def test_reordering_the_groups_reorders_the_answers() -> None:
    table, order = some_table(5, 6), torch.tensor([3, 1, 0, 5, 4, 2])
    actor = lively()
    assert torch.allclose(actor(table)[:, order], actor(table[:, order]), atol=1e-6)


def test_padding_changes_no_answer() -> None:
    table = some_table(5, 3)
    padded = torch.cat([table, torch.zeros(5, 4, len(FEATURES))], dim=1)
    actor = lively()
    assert torch.allclose(actor(table), actor(padded)[:, :3], atol=1e-6)
    assert not actor(padded)[:, 3:].any()


def test_the_exported_model_answers_as_the_trained_one_at_every_size(tmp_path: Path) -> None:
    actor = lively()
    digest = export(actor, tmp_path / "model.onnx")
    model = (tmp_path / "model.onnx").read_bytes()
    assert digest.startswith("sha256:")
    assert b".py" not in model  # no path of this machine
    assert largest_difference(Released(actor, 0.7).eval(), model) <= TOLERANCE
    assert largest_difference(Released(lively(1), 0.7).eval(), model) > 0.01


def test_an_export_is_compared_on_ten_thousand_random_services() -> None:
    tables = list(random_services())
    assert INPUTS == 10_000
    assert sum(len(table) for table in tables) == INPUTS
    assert {table.shape[1] for table in tables} == {*range(1, 13), 100}
    present = np.concatenate([table[:, :, PRESENT].ravel() for table in tables])
    assert 0.75 < present.mean() < 0.85
    assert all(np.array_equal(a, b) for a, b in zip(tables, random_services(), strict=True))


def test_an_export_that_answers_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policies.training.export.TOLERANCE", 0.0)
    with pytest.raises(RuntimeError, match="differs from the trained policy by"):
        export(lively(), tmp_path / "model.onnx")


def test_every_recipe_of_ours_can_be_read_and_trains_on_nothing_that_is_held_out() -> None:
    for path in FOLDER.glob("*.yaml"):
        recipe = load(path)
        lessons = [lesson.of(recipe.scenarios) for lesson in recipe.curriculum]
        for draw in (recipe.scenarios, *lessons):
            if recipe.base == "model":  # regions are kept from what is played without
                assert not set(draw.families) & set(HELD_OUT_FAMILIES)
            assert not set(draw.endpoints) & set(HELD_OUT_ENDPOINTS)
            assert draw.seeds[1] <= HELD_OUT_SEEDS


def test_lessons_change_what_is_drawn_for_their_part_of_the_steps_and_no_check(
    tmp_path: Path,
) -> None:
    (tmp_path / "r.yaml").write_text(
        "name: x\nsteps: 1000\nscenarios: {load: [0.5, 0.9], proxies: [8]}\n"
        "curriculum: [{until: 0.2, families: {sparse: 1}}, {until: 0.5, load: [0.5, 0.7]}]"
    )
    recipe = load(tmp_path / "r.yaml")
    assert isinstance(recipe.world, Simulated)
    first, second = recipe.world.stages
    assert (first.until, second.until) == (200, 500)
    assert first.draw == replace(recipe.scenarios, families={"sparse": 1})
    assert second.draw == replace(recipe.scenarios, load=(0.5, 0.7))
    assert recipe.checks == replace(recipe.world, stages=())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name: x", "steps"),
        ("name: x\nsteps: 10\nspeed: 1", "no field speed"),
        ("name: x\nsteps: 10\nppo: {batch: 7}", "batch"),
        ("name: x\nsteps: 10\nscenarios: {families: {sparce: 1}}", "sparce"),
        ("name: x\nsteps: 10\nalgorithm: dqm", "no algorithm 'dqm'; there are ppo, a2c"),
        ("name: x\nsteps: 10\nalgorithm: dqn\nppo: {}", "no field ppo"),
        ("- name", "wanted a mapping"),
        ("name: x\nsteps: 10\ncurriculum: [{until: 1.5}]", "ever later parts of 0 to 1"),
        ("name: x\nsteps: 10\ncurriculum: [{until: .5}, {until: .5}]", "ever later"),
        ("name: x\nsteps: 10\ncurriculum: [{until: .5, seeds: [0, 9]}]", "no field seeds"),
        ("name: x\nsteps: 10\ncurriculum: [{until: .5, families: {spars: 1}}]", "spars"),
        ("name: [", "line"),
        ("name: x\nsteps: many", "steps: wanted a whole number, got 'many'"),
        ("name: x\nsteps: 1.5", "steps: wanted a whole number"),
        ("name: x\nsteps: -5", "steps: wanted at least 1"),
        ("name: x\nsteps: 10\nseed: -1", "seed: wanted 0 to"),
        ("name: x\nsteps: 10\ncheck_every: 0", "check_every: wanted at least 1"),
        ("name: x\nsteps: 10\nppo: {slots: '8'}", "slots: wanted a whole number, got '8'"),
        ("name: x\nsteps: 10\nppo: {centred: 1}", "centred: wanted true or false"),
        ("name: x\nsteps: 10\nppo: {discount: 1.2}", "discount"),
        ("name: x\nsteps: 10\nscenarios: {families: [sparse]}", "families: wanted a mapping"),
        ("name: x\nsteps: 10\nscenarios: {families: {sparse: 0}}", "families: wanted how often"),
        ("name: x\nsteps: 10\nscenarios: {load: 0.5}", "load: wanted a list"),
        ("name: x\nsteps: 10\nscenarios: {load: [0.5]}", "load: wanted 2 values"),
        ("name: x\nsteps: 10\nscenarios: {load: [0.9, 3]}", "load: wanted a range"),
        ("name: x\nsteps: 10\nscenarios: {proxies: [0]}", "proxies: wanted numbers of at least 1"),
        ("name: x\nsteps: 10\nscenarios: {duration_s: 1}", "duration_s: wanted at least 2"),
        ("name: x\nsteps: 10\nscenarios: {seeds: [5, 5]}", "seeds: wanted from"),
        ("name: x\nsteps: 10\nscenarios: {seeds: [0, 3000000]}", "kept for releases"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused_in_words(tmp_path: Path, text: str, wanted: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=wanted):
        load(tmp_path / "r.yaml")


def test_a_number_without_a_point_is_a_number_too(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-4 for text."""
    (tmp_path / "r.yaml").write_text("name: x\nsteps: 10\nppo: {learning_rate: 1e-4, clip: 1}")
    settings = load(tmp_path / "r.yaml").settings
    assert isinstance(settings, Ppo)
    assert (settings.learning_rate, settings.clip) == (1e-4, 1)


def test_the_command_trains_each_seed_and_releases_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = replace(
        release_suite(families=("hardware_4x",)), loads=(0.7,), sizes=((8, 4), (10, 16))
    )
    monkeypatch.setattr("policies.training.evaluate.release_suite", lambda seeds: suite)
    recipe, to, logs = (tmp_path / name for name in ("tiny.yaml", "made", "made.logs"))
    recipe.write_text(
        "name: tiny\nsteps: 40\ncheck_every: 1\ncheck_cases: 2\n"
        "scenarios: {families: {hardware_2x: 1}, endpoints: [4], proxies: [8], duration_s: 6.0}\n"
        "ppo: {slots: 4, copies: 2, epochs: 2, batch: 10, learning_rate: 0.01}\n"
    )
    arguments = [str(recipe), "--to", str(to), "--seeds", "1,3,2", "--workers", "1"]
    done = CliRunner().invoke(verb(cli.train), arguments, env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    assert {one.name for one in to.iterdir()} == set(FILES)
    assert {one.name for one in logs.iterdir()} >= {"report.html", "curve.png", "losses.png"}

    ratios = {}
    for seed in (1, 3, 2):
        curve = json.loads((logs / f"seed-{seed}" / "curve.json").read_text())
        ratios[seed] = min(point["ratio"] for point in curve if point["ratio"] is not None)
    assert len(set(ratios.values())) == 3
    best = min(ratios, key=ratios.__getitem__)
    assert best == 3, "neither the first nor the last, so that it was chosen"
    manifest = json.loads((to / "manifest.json").read_text())
    assert manifest["recipe"]["seed"] == best
    assert manifest["training"]["validation_mean_ratio"] == round(ratios[best], 4)
    assert manifest["evaluation"]["cases"] == 2
    row = f"<td>{best}</td><td>{ratios[best]:.4f}</td>"
    (kept,) = re.findall(r"<tr>.*?<td>kept</td></tr>", (logs / "report.html").read_text())
    assert row in kept
    assert f"release in {to}, of seed {best}; report in {logs / 'report.html'}" in done.stderr
    assert "hardware_4x" in done.stderr


def test_what_is_no_release_is_never_replaced_by_one(tmp_path: Path) -> None:
    notes = tmp_path / "work" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("a year of work")
    with pytest.raises(WeirError, match=r"notes\.txt.* would be lost"):
        release(train(TINY), notes.parent)
    arguments = ["residual-ppo-quick", "--steps", "64", "--logs", str(tmp_path / "logs"), "--to"]
    for wrong in (notes.parent, notes, tmp_path / "empty" / ".." / "work"):
        done = CliRunner().invoke(verb(cli.train), [*arguments, str(wrong)])
        assert done.exit_code == 1
        assert "error: " in done.stderr
    assert notes.read_text() == "a year of work"
    assert not (tmp_path / "logs").exists()  # told before anything was trained


def test_a_release_takes_the_place_of_a_release_and_leaves_nothing_beside_it(
    tmp_path: Path,
) -> None:
    folder, linked = tmp_path / "tiny", tmp_path / "link"
    suite = replace(release_suite(families=("hardware_4x",)), loads=(0.7,), sizes=((8, 4),))
    folder.mkdir()
    (folder / "model.onnx").write_text("old")
    linked.symlink_to(folder)
    trained = replace(train(TINY), commit="0123456789abcdef")  # when it began, not now
    release(trained, linked, suite=suite)
    assert json.loads((folder / "manifest.json").read_text())["commit"] == trained.commit
    assert {one.name for one in folder.iterdir()} == set(FILES)
    assert (folder / "model.onnx").read_bytes() != b"old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "tiny"]


def test_what_would_fail_after_training_is_refused_before_it(tmp_path: Path) -> None:
    to = str(tmp_path / "to")
    for option, value, words in (
        ("--held-out", "0", "wanted 1 to 1000 seeds"),
        ("--logs", f"{to}/logs", "in the folder of the release"),
    ):
        arguments = ["residual-ppo-quick", "--steps", "64", "--to", to, option, value]
        done = CliRunner().invoke(verb(cli.train), arguments)
        assert done.exit_code == 1
        assert words in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_policy_that_answers_no_numbers_is_not_released(tmp_path: Path) -> None:
    actor = lively()
    torch.nn.init.constant_(actor.head.weight, float("nan"))
    with pytest.raises(RuntimeError, match="differs from the trained policy by nan"):
        export(actor, tmp_path / "model.onnx")


def met(recipe: Recipe) -> Seen:
    return Seen.of({"recipe": recipe.document()})


def test_what_a_recipe_trains_on_is_not_called_held_out_for_it() -> None:
    """Whatever our own recipes leave out: a recipe of yours may train on that."""
    suite = release_suite(families=("two_regions", "sparse", "bursty"))
    fixtures = [one for fixtures in suite.rounds() for one in fixtures]
    ours = held_out_of(met(load(FOLDER / "residual-ppo.yaml")))
    assert [ours(one) for one in fixtures] == [one.held_out for one in fixtures]
    lesson = Lesson(until=0.5, families={"sparse": 1.0}, endpoints=(6,))
    draw = replace(TINY.scenarios, families={"two_regions": 1.0, "bursty": 0.0}, endpoints=(8,))
    theirs = held_out_of(met(replace(TINY, scenarios=draw, curriculum=(lesson,))))
    said = {(one.family, one.endpoints): theirs(one) for one in fixtures}
    assert said["two_regions", 8] == said["sparse", 6] == "seeds"
    assert said["two_regions", 24] == "sizes"
    assert said["bursty", 8] == "families"


def test_a_card_says_that_regions_were_not_trained_on_where_that_is_so() -> None:
    manifest = json.loads((residual_ppo() / "manifest.json").read_text())
    evaluation = json.loads((residual_ppo() / "evaluation.json").read_text())
    assert "several regions and endpoint weights were not" in card(manifest, evaluation)
    manifest["recipe"]["scenarios"]["families"]["two_regions"] = 1.0
    assert "several regions" not in card(manifest, evaluation)


def test_a_card_names_families_with_harm_that_three_digits_show() -> None:
    manifest = json.loads((residual_ppo() / "manifest.json").read_text())
    evaluation = json.loads((residual_ppo() / "evaluation.json").read_text())
    families = evaluation["families"]
    for name, mean in {"sparse": [1.0004, 0.9, 1.1], "bursty": [1.0126, 1.0011, 1.0243]}.items():
        families[name]["learned/model"]["mean"] = mean
    evaluation["families"] = {name: families[name] for name in ("sparse", "bursty")}
    limit = next(line for line in card(manifest, evaluation).splitlines() if "In these" in line)
    assert limit.endswith("above its base's: `bursty` 1.013 [1.001, 1.024].")
    del evaluation["families"]["bursty"]
    assert "In no family was its mean latency above its base's" in card(manifest, evaluation)


def test_a_card_says_what_made_it_and_when_that_was_not_what_is_committed() -> None:
    manifest = json.loads((residual_ppo() / "manifest.json").read_text())
    manifest["commit"] = "0123456789abcdef0123456789abcdef01234567+"
    manifest["training"] |= {"step": 162_240, "steps": 160_000}
    said = card(manifest, {"overall": {}})
    assert "commit `0123456789ab+`" in said
    assert "160000 steps asked for" in said
    assert "162240 of 160000" not in said


def test_the_card_of_the_installed_release_is_made_of_its_documents() -> None:
    """So that no wording and no number of it is older than they and what writes it."""
    folder = residual_ppo()
    manifest, evaluation, importance = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("manifest", "evaluation", "importance")
    )
    assert (folder / "card.md").read_text() == card(manifest, evaluation, importance)


def test_a_release_is_evaluated_on_its_own_seeds_and_the_card_says_what_came_out() -> None:
    suite = replace(
        release_suite(families=("sparse", "gc_pauses")), loads=(0.7,), sizes=((6, 2), (8, 4))
    )
    assert suite.first_seed == HELD_OUT_SEEDS
    done: list[int] = []
    evaluation = evaluated(residual_ppo(), suite, lambda n, of: done.append(n))
    assert done == [1, 2, 3, 4]
    assert evaluation["overall"]["learned/model"]["cases"] == 4
    assert set(evaluation["held out"]) == {"families", "sizes", "seeds"}
    assert set(evaluation["families"]) == {"sparse", "gc_pauses"}
    manifest = json.loads((residual_ppo() / "manifest.json").read_text())
    said = card(manifest, evaluation)
    ratio = evaluation["families"]["sparse"]["learned/equal"]["mean"][0]
    assert f"{ratio:.3f} [" in said
    assert ratio < 1.0
