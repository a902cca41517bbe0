"""A Ray cluster of two workers, started here on loopback, gives what this process gives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from controlplane.errors import ConfigurationError, WeirError
from policies.env.simulated import Simulated
from policies.training import cli
from policies.training.evaluate import release_suite
from policies.training.on_ray import OnRay
from policies.training.recipe import load
from policies.training.release import FILES
from policies.training.runs import trained
from policies.training.train import CHECKPOINT, TRAINED, train
from tests.learning.short_runs import short
from tests.learning.test_resume import assert_same
from tests.learning.test_runs import SMALL

pytestmark = [
    pytest.mark.learning,
    # Ray's own: sockets and processes that it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of two nodes of one core each, in processes of their own, that end with the tests."""
    folder = tempfile.mkdtemp(prefix="ray")  # short: sockets are in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # As Ray has it on a laptop: it stays on loopback.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        from ray.cluster_utils import Cluster

        nodes = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        try:
            nodes.add_node(**NODE)
            yield nodes.address
        finally:
            nodes.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(address: str) -> Iterator[OnRay]:
    """As a place to train."""
    place = OnRay(address)
    try:
        yield place
    finally:
        place.close()


def test_one_run_whose_cases_two_actors_play_is_the_same(cluster: OnRay, tmp_path: Path) -> None:
    assert cluster.cores == 2
    assert isinstance(SMALL.world, Simulated)
    assert_same(trained([(SMALL, tmp_path)], cluster)[0], train(SMALL))


def test_whole_runs_as_tasks_are_the_same(cluster: OnRay, tmp_path: Path) -> None:
    recipes = replace(short("ppo"), seeds=(1, 2)).runs()
    runs = [(one, tmp_path / f"seed-{one.seed}") for one in recipes]
    for ours, recipe in zip(trained(runs, cluster), recipes, strict=True):
        assert_same(ours, train(recipe))
    assert all((folder / TRAINED).exists() for _, folder in runs)


ALONE = """
import os
from policies.training.on_ray import OnRay
place = OnRay("local", 1)
with place.workers(1) as [worker]:
    print(place.cores, worker.submit(os.getpid).result() != os.getpid())
place.close()
"""


def test_local_is_a_cluster_of_its_own_even_where_there_is_one(address: str) -> None:
    """In a process of its own: Ray knows one cluster in each."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == ["1", "True"], done.stderr


# --- by the verbs ------------------------------------------------------------------------------

RECIPE = """
name: tiny
steps: 40
check_every: 1
check_cases: 2
scenarios: {families: {hardware_2x: 1}, endpoints: [4], proxies: [8], duration_s: 6.0}
ppo: {slots: 4, copies: 2, epochs: 2, batch: 10}
"""


def invoked(verb: Callable[..., None], folder: Path, address: str, *others: str) -> Result:
    """What came of a verb with a recipe that takes a second, on the cluster."""
    (folder / "tiny.yaml").write_text(RECIPE)
    app = typer.Typer()
    app.command()(verb)
    arguments = [str(folder / "tiny.yaml"), "--to", str(folder / "to"), "--ray", address, *others]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})


def trained_by(folder: Path) -> set[int]:
    """The processes that trained the run: TensorBoard has them in the names of its files."""
    found = {int(one.name.split(".")[-2]) for one in folder.glob("events.out.tfevents.*")}
    assert found, f"nothing was trained in {folder}"
    return found


@pytest.fixture
def _no_other_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of this machine that are not the cluster's would be other ones than this, too."""

    def refused(*_: object) -> None:
        raise AssertionError("not trained on the cluster")

    monkeypatch.setattr("policies.training.places.Local", refused)


@pytest.mark.usefixtures("_no_other_place")
def test_the_command_trains_on_the_cluster_and_releases_what_came_of_it(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = replace(release_suite(families=("hardware_4x",)), loads=(0.7,), sizes=((8, 4),))
    monkeypatch.setattr("policies.training.evaluate.release_suite", lambda seeds: suite)
    done = invoked(cli.train, tmp_path, address, "--seeds", "1,2")
    assert done.exit_code == 0, done.output
    for seed in (1, 2):
        assert os.getpid() not in trained_by(tmp_path / "to.logs" / f"seed-{seed}")
    assert {one.name for one in (tmp_path / "to").iterdir()} == set(FILES)
    assert f"release in {tmp_path / 'to'}, of seed" in done.stderr


@pytest.mark.usefixtures("_no_other_place")
def test_a_sweep_trains_on_the_cluster(address: str, tmp_path: Path) -> None:
    over = ("--over", "ppo.epochs=1,2", "--seeds", "1")
    done = invoked(cli.sweep, tmp_path, address, *over)
    assert done.exit_code == 0, done.output
    runs = list((tmp_path / "to" / "runs").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert os.getpid() not in trained_by(run)
    assert len(json.loads((tmp_path / "to" / "sweep.json").read_text())["tried"]) == 2


# --- what goes wrong there -----------------------------------------------------------------------


def test_what_is_raised_there_is_raised_here_as_it_was(cluster: OnRay) -> None:
    with cluster.pool(1) as pool, pytest.raises(ConfigurationError) as raised:
        pool.submit(load, Path("nowhere.yaml")).result()
    assert str(raised.value) == "nowhere.yaml: [Errno 2] No such file or directory: 'nowhere.yaml'"


def test_a_task_whose_process_is_killed_is_told_in_words(cluster: OnRay) -> None:
    with cluster.pool(1) as pool:
        with pytest.raises(WeirError, match="of the Ray cluster that trained is gone"):
            pool.submit(signal.raise_signal, signal.SIGKILL).result()
        assert pool.submit(os.getpid).result() != os.getpid(), "the cluster goes on"


class Spoiled:
    """The cluster, one of whose actors is killed when `kill` is called."""

    def __init__(self, cluster: OnRay) -> None:
        self._cluster, self.cores = cluster, cluster.cores
        self._processes: list[int] = []

    @contextmanager
    def pool(self, size: int) -> Iterator[Executor]:
        with self._cluster.pool(size) as pool:
            yield pool

    @contextmanager
    def workers(self, count: int) -> Iterator[list[Executor]]:
        with self._cluster.workers(count) as workers:
            self._processes = [one.submit(os.getpid).result() for one in workers]
            yield workers

    def kill(self) -> None:
        os.kill(self._processes[-1], signal.SIGKILL)


def test_a_run_that_loses_an_actor_says_how_to_go_on_and_goes_on(
    cluster: OnRay, tmp_path: Path
) -> None:
    place, steps = Spoiled(cluster), list[int]()

    def told(step: int, note: str) -> None:
        steps.append(step)
        if len(steps) == 1:
            place.kill()

    with pytest.raises(WeirError, match="`weir train` with --resume") as raised:
        trained([(SMALL, tmp_path)], place, progress=told, checkpoint_s=0.0)
    assert "\n" not in str(raised.value)
    assert steps[-1] < SMALL.steps
    assert (tmp_path / CHECKPOINT).exists()
    assert_same(trained([(SMALL, tmp_path)], cluster, resume=True)[0], train(SMALL))
