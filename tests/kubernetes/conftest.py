"""A cluster for a test."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes import cluster as clusters
from tests.kubernetes import samples, tools
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.scene import Scene, scene


def pytest_report_header() -> str:
    real = clusters.given()
    return f"kubernetes: {real if real else 'the test API server'}"


@pytest.fixture
def api_server() -> Iterator[ApiServer]:
    """A server of its own for each test, empty but for the system's namespaces."""
    with ApiServer() as server:
        yield server


@pytest.fixture(scope="session")
def one_scene() -> Iterator[Scene]:
    """A test server with the kinds that Weir follows, for all who tidy up after themselves."""
    with ApiServer() as server, scene(server) as made:
        yield made


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """The real cluster, where there is one; otherwise the test server."""
    name = f"weir-test-{uuid.uuid4().hex[:8]}"
    real = clusters.given()
    if real is None:
        with ApiServer() as server:
            made = Cluster(server.write_kubeconfig(tmp_path / "kubeconfig"), name, server)
            made.begin()
            yield made
        return
    made = Cluster(real, name, None)
    made.begin()
    try:
        yield made
    finally:
        command = [tools.program("kubectl"), "--kubeconfig", str(real)]
        for what in (f"namespace/{name}", f"crd/{samples.NAME}"):
            # Waiting, as the next test defines the same kind again.
            options = ["--ignore-not-found", "--timeout=60s"]
            subprocess.run([*command, "delete", what, *options], check=False, timeout=90)
