"""Helm itself against the test server: a tiny chart comes, changes, goes back and goes.

Its releases are kept in Secrets of the server, as in a real cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.kubernetes import samples, tools
from tests.kubernetes.apiserver import ApiServer

HELM_S = 60.0
TEMPLATE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {image: "{{ .Values.image }}"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "{{ .Values.image }}"}]}
---
apiVersion: test.weir.dev/v1
kind: Widget
metadata: {name: {{ .Release.Name }}}
spec: {size: small}
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "templates").mkdir(parents=True)
    (folder / "crds").mkdir()
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: tiny, version: 0.1.0}\n")
    (folder / "values.yaml").write_text("image: web:1\n")
    (folder / "templates" / "all.yaml").write_text(TEMPLATE)
    (folder / "crds" / "widgets.yaml").write_text(yaml.safe_dump(samples.DEFINITION))
    return folder


class Helm:
    """The program with folders of its own, in one namespace."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECONFIG": str(server.write_kubeconfig(folder / "kubeconfig")),
        }

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [tools.program("helm"), *arguments, "-n", "shop"],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=HELM_S,
            check=False,
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
        return done.stdout


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(rollouts=True) as made:
        yield made


def test_a_release_comes_changes_goes_back_and_goes(
    server: ApiServer, tmp_path: Path, chart: Path
) -> None:
    helm = Helm(server, tmp_path)
    with httpx.Client(base_url=server.url, timeout=10.0) as http:

        def image() -> str:
            path = "/apis/apps/v1/namespaces/shop/deployments/web"
            found: Any = http.get(path).json()
            assert found["status"]["readyReplicas"] == 2
            return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

        helm("install", "web", str(chart), "--create-namespace", "--wait", "--timeout=30s")
        assert image() == "web:1"
        widgets = "/apis/test.weir.dev/v1/namespaces/shop/widgets"
        assert http.get(f"{widgets}/web").json()["spec"]["replicas"] == 1
        helm("upgrade", "web", str(chart), "--set=image=web:2", "--wait", "--timeout=30s")
        assert image() == "web:2"
        helm("rollback", "web", "1")
        assert image() == "web:1"
        history = json.loads(helm("history", "web", "-o", "json"))
        states = [one["status"] for one in history]
        assert states == ["superseded", "superseded", "deployed"]
        helm("uninstall", "web", "--wait", "--timeout=30s")
        left = [widgets, "/apis/apps/v1/namespaces/shop/deployments", "/api/v1/secrets"]
        assert [http.get(path).json()["items"] for path in left] == [[], [], []]
