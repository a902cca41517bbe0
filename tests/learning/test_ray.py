"""A Ray cluster of two workers, started here on loopback, gives what this process gives."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from policies.env.simulated import Simulated
from policies.training.on_ray import OnRay
from policies.training.runs import trained
from policies.training.train import TRAINED, train
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
def cluster() -> Iterator[OnRay]:
    """Two nodes of one core each, in processes of their own, that end with the tests."""
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
            place = OnRay(nodes.address)
            try:
                yield place
            finally:
                place.close()
        finally:
            nodes.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


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
