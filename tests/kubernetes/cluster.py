"""The cluster that a test talks to: our test server, or a real one.

With KUBECONFIG set the same tests run against that cluster, if its current context is one that was
made to be thrown away (kind, minikube, k3d) or WEIR_TEST_CLUSTER=1 says that it may be used. Each
test has a namespace of its own there, and takes away what it made.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.kubernetes import tools
from tests.kubernetes.apiserver import ApiServer

_THROWAWAY = ("kind-", "minikube", "k3d-")
KUBECTL_S = 60.0


def given() -> Path | None:
    """The kubeconfig of a real cluster that may be used."""
    name = os.environ.get("KUBECONFIG", "")
    if not name or not Path(name).is_file():
        return None
    context = str((yaml.safe_load(Path(name).read_text()) or {}).get("current-context", ""))
    allowed = context.startswith(_THROWAWAY) or os.environ.get("WEIR_TEST_CLUSTER") == "1"
    return Path(name) if allowed else None


@dataclass(frozen=True)
class Done:
    """What a run of kubectl said."""

    code: int
    out: str
    error: str


@dataclass(frozen=True)
class Cluster:
    """Where to, in which namespace. `server` is there where the cluster is ours."""

    kubeconfig: Path
    namespace: str
    server: ApiServer | None

    def run(self, *arguments: str, given: str | None = None) -> Done:
        """kubectl, in the namespace of the test."""
        cache = self.kubeconfig.parent / f"{self.namespace}-cache"
        where = ("--kubeconfig", str(self.kubeconfig), "--cache-dir", str(cache))
        done = subprocess.run(
            [tools.program("kubectl"), *where, "-n", self.namespace, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=KUBECTL_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def begin(self) -> None:
        """Make the namespace."""
        self.kubectl("create", "namespace", self.namespace)

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl prints; a failure of it is one of the test."""
        done = self.run(*arguments, given=given)
        assert done.code == 0, f"kubectl {' '.join(arguments)}: {done.error}"
        return done.out

    def refused(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl says to what must not work."""
        done = self.run(*arguments, given=given)
        assert done.code != 0, f"kubectl {' '.join(arguments)} worked: {done.out}"
        return done.error

    def read(self, *arguments: str) -> Any:  # noqa: ANN401 (any object)
        return json.loads(self.kubectl(*arguments, "-o", "json"))
