"""A run that was broken off and went on ends as one that was not: bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from controlplane.checkout import commit
from controlplane.errors import WeirError
from policies.agents.offline import Logging
from policies.agents.settings import Offline, Ppo
from policies.training import checkpoint
from policies.training.toy import LESSONS
from policies.training.train import CHECKPOINT, TRAINED, Trained, train
from tests.learning.short_runs import short

pytestmark = pytest.mark.learning


class Broken(Exception):
    """Power is gone."""


def after(rollouts: int) -> Callable[[int, str], None]:
    """A progress that breaks off."""
    left = rollouts

    def progress(step: int, note: str) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise Broken

    return progress


def assert_same(first: Trained, second: Trained) -> None:
    assert first.curve == second.curve
    assert first.updates == second.updates
    assert (first.step, first.ratio) == (second.step, second.ratio)
    ours, theirs = first.actor.state_dict(), second.actor.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", LESSONS)
def test_every_algorithm_goes_on_as_if_nothing_had_happened(name: str, tmp_path: Path) -> None:
    recipe = short(name)
    whole = train(recipe)
    # Rollouts of each attempt; the log of `offline` is told of once.
    for broken_after in (1, 3) if name != "offline" else (1,):
        with pytest.raises(Broken):
            train(
                recipe,
                logs=tmp_path,
                progress=after(broken_after),
                resume=True,
                checkpoint_s=0.0,
            )
    assert (tmp_path / CHECKPOINT).exists()
    assert_same(train(recipe, logs=tmp_path, resume=True), whole)
    assert not (tmp_path / CHECKPOINT).exists()
    assert_same(train(recipe, logs=tmp_path, resume=True), whole)  # which is read


def test_a_log_goes_on_in_its_middle(tmp_path: Path) -> None:
    lesson = LESSONS["offline"]
    settings = replace(lesson.settings, slots=16)
    assert isinstance(settings, Offline)

    def logging() -> Logging:
        return Logging(lesson.world.episodes(16, 1, settings.copies), settings, 1)

    whole, first, second = logging(), logging(), logging()
    for _ in range(3):
        whole.play()
    first.play()
    checkpoint.save(tmp_path / "log.npz", first.state())
    second.restore(checkpoint.load(tmp_path / "log.npz"))
    second.play()
    second.play()
    ours, theirs = whole.log(), second.log()
    assert torch.equal(ours.table, theirs.table)
    assert torch.equal(ours.actions, theirs.actions)
    assert torch.equal(ours.returns, theirs.returns)
    assert torch.equal(ours.episode, theirs.episode)
    assert (whole.mean(), whole.steps) == (second.mean(), second.steps)


KILLED = ("ppo", "sac")
"""One that forgets what it played, and one with a replay buffer."""


def test_kill_9_at_any_moment_costs_nothing_but_time(tmp_path: Path) -> None:
    """Real processes, killed in the middle of one algorithm, then of the other."""
    random = np.random.default_rng()
    command = [sys.executable, "-m", "tests.learning.short_runs", str(tmp_path), *KILLED]
    for name in KILLED:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            seen = 0
            for line in process.stdout:
                seen += line.split()[0] == name
                if seen == 3:  # rollouts, of six
                    time.sleep(random.uniform(0.0, 0.05))
                    process.kill()
                    break
            assert process.wait(60.0) == -signal.SIGKILL
    for name in KILLED:
        assert_same(train(short(name), logs=tmp_path / name, resume=True), train(short(name)))


# --- checkpoints -------------------------------------------------------------------------------


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    tree = {
        "numbers": [1, 2.5, float("inf"), True, None, 1 << 100, 0.1 + 0.2],
        "text": ("a", ("b", [])),
        0: {"table": np.arange(6, dtype=np.int16).reshape(2, 3), "empty": np.zeros((0, 3))},
        "weights": torch.tensor([[1.0, -0.0], [float("nan"), 1e-45]]),
        "bits": torch.get_rng_state(),
        "scalar": torch.tensor(3.0, dtype=torch.float64),
        "generator": random.bit_generator.state,
    }
    checkpoint.save(tmp_path / "tree.npz", tree)
    back = checkpoint.load(tmp_path / "tree.npz")
    assert list(back) == list(tree)
    assert back["numbers"] == tree["numbers"]
    assert back["text"] == tree["text"]
    assert back["generator"] == tree["generator"]
    assert back[0]["table"].dtype == np.int16
    assert back[0]["empty"].shape == (0, 3)
    for name in ("weights", "bits", "scalar"):
        assert back[name].numpy().tobytes() == tree[name].numpy().tobytes()
        assert back[name].dtype == tree[name].dtype


def test_a_checkpoint_takes_the_place_of_the_one_before_or_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, {"n": 1})
    with pytest.raises(TypeError, match="no place for set"):
        checkpoint.save(path, {"n": {2}})
    assert checkpoint.load(path) == {"n": 1}
    (tmp_path / ".checkpoint.npz.new").write_bytes(b"broken off while it was written")
    assert checkpoint.load(path) == {"n": 1}
    checkpoint.save(path, {"n": 3})
    assert checkpoint.load(path) == {"n": 3}
    assert os.listdir(tmp_path) == ["checkpoint.npz"]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """An array of objects is a pickle, which could run anything."""
    path = tmp_path / "evil.npz"
    np.savez(path, tree=np.array([print], object))
    with pytest.raises(WeirError, match="no checkpoint that can be read"):
        checkpoint.load(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(WeirError, match="no checkpoint that can be read"):
        checkpoint.load(path)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    recipe = short("ppo")
    with pytest.raises(Broken):
        train(recipe, logs=tmp_path, progress=after(3), checkpoint_s=0.0)
    other = replace(recipe, settings=replace(recipe.settings, learning_rate=1e-3))
    assert isinstance(other.settings, Ppo)
    with pytest.raises(WeirError, match="another recipe"):
        train(other, logs=tmp_path, resume=True)
    train(other, logs=tmp_path)  # anew
    assert (tmp_path / TRAINED).exists()
    with pytest.raises(WeirError, match="another recipe"):
        train(recipe, logs=tmp_path, resume=True)


def test_a_run_that_goes_on_has_the_commit_that_it_began_with(tmp_path: Path) -> None:
    recipe = short("ppo")
    assert train(recipe).commit == commit()
    with pytest.raises(Broken):
        train(recipe, logs=tmp_path, progress=after(3), checkpoint_s=0.0)
    state = checkpoint.load(tmp_path / CHECKPOINT)
    assert state["commit"] == commit()
    checkpoint.save(tmp_path / CHECKPOINT, state | {"commit": "0" * 40 + "+"})
    assert train(recipe, logs=tmp_path, resume=True).commit == "0" * 40 + "+"
    assert train(recipe, logs=tmp_path, resume=True).commit == "0" * 40 + "+"  # which is read
    assert train(recipe, logs=tmp_path).commit == commit()  # anew


@pytest.mark.parametrize("name", [CHECKPOINT, TRAINED])
def test_a_run_of_other_code_is_refused(tmp_path: Path, name: str) -> None:
    recipe = short("ppo")
    if name == TRAINED:
        train(recipe, logs=tmp_path)
    else:
        with pytest.raises(Broken):
            train(recipe, logs=tmp_path, progress=after(3), checkpoint_s=0.0)
    kept = checkpoint.load(tmp_path / name)
    for code in ({"code": "0123456789abcdef"}, {}):  # and of a version that did not say
        by = {what: value for what, value in kept["made by"].items() if what != "code"} | code
        checkpoint.save(tmp_path / name, kept | {"made by": by})
        with pytest.raises(WeirError, match=f"{name} was made with other code: it would not end"):
            train(recipe, logs=tmp_path, resume=True)


CHANGED = """
import sys
from pathlib import Path
import policies
from policies.training.train import code
root = Path(policies.__file__).parents[1]
for name in ["", *sys.argv[1:]]:
    if name:
        with (root / name).open("a") as file:
            file.write("# changed\\n")
    print(code.__wrapped__())
"""


def test_the_code_of_a_run_is_all_that_decides_what_it_gives(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for package in ("controlplane", "policies"):
        shutil.copytree(root / package, tmp_path / package)
    deciding = (
        "policies/agents/on_policy.py",
        "policies/env/draw.py",
        "policies/simulator/core.py",
        "policies/training/recipe.py",
        "policies/training/read_back.py",
        "policies/training/watch.py",
        "controlplane/decide/queueing.py",
        "controlplane/guard/__init__.py",
        "controlplane/model/features.py",
    )
    showing = ("policies/training/card.py", "policies/league/page.py")
    assert all((root / name).is_file() for name in (*deciding, *showing))
    command = [sys.executable, "-c", CHANGED, *deciding, *showing]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    codes = done.stdout.split()
    assert len(set(codes)) == 1 + len(deciding)
    assert len(set(codes[len(deciding) :])) == 1


def test_a_run_leaves_one_checkpoint_of_bounded_size(tmp_path: Path) -> None:
    """Three rollouts of 160 tables of 496 bytes are all that the replay buffer holds."""
    recipe = short("sac")
    logs = tmp_path / "which" / "is made"
    with pytest.raises(Broken):
        train(recipe, logs=logs, progress=after(6), checkpoint_s=0.0)
    assert len(list(logs.glob("*.npz"))) == 1
    assert (logs / CHECKPOINT).stat().st_size < 3 * 160 * 496 * 1.3 + 200_000


@pytest.mark.parametrize("name", ["ppo", "sac", "hierarchy"])
def test_no_folder_is_left_under_the_temporary_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stable-Baselines3 makes one for each model whose logger is not ours."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    train(replace(short(name), steps=320))
    assert not list(tmp_path.iterdir())
