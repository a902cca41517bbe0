"""Stand-ins for the replicas of Weir in the test cluster: pods, and who answers for them."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner, Result

from controlplane.cli.root import build
from tests.kubernetes.apiserver import ApiServer

LABELS = {
    "app.kubernetes.io/part-of": "weir",
    "app.kubernetes.io/component": "control-plane",
}
HOME = "weir-system"


@dataclass
class Admin:
    """An admin address with pages that a test says. `asked`: what came, with bodies."""

    pages: dict[str, Any] = field(default_factory=dict)
    """Text as it is, all else as JSON; what is not here is 404."""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    port: int = 0


@contextmanager
def admin(pages: Mapping[str, Any]) -> Iterator[Admin]:
    made = Admin(dict(pages))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _answer(self, body: object) -> None:
            made.asked.append((self.path, body))
            found = made.pages.get(self.path)
            text = found if isinstance(found, str) else json.dumps(found)
            if found is None:
                text = '{"detail": "no such thing"}'
            raw = text.encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def pod(name: str, **more: object) -> dict[str, Any]:
    """A pod of Weir, as the chart has it."""
    container = {
        "name": "weir",
        "image": "weir:1",
        "args": ["serve", "--kubernetes", "--admin-address=127.0.0.1:18001"],
        "ports": [{"name": "xds", "containerPort": 18000}],
        **more,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {"containers": [container]},
    }


def put(http: httpx.Client, path: str, document: dict[str, Any]) -> None:
    made = http.post(path, json=document)
    assert made.status_code in (201, 409), made.text


def replica(
    server: ApiServer, http: httpx.Client, name: str, port: int, home: str = HOME, **more: object
) -> None:
    """A pod, and who answers at its admin port."""
    put(http, "/api/v1/namespaces", namespace(home))
    put(http, f"/api/v1/namespaces/{home}/pods", pod(name, **more))
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-01T00:00:00Z"}
    merge = {"content-type": "application/merge-patch+json"}
    status = {"status": {"phase": "Running", "conditions": [ready]}}
    path = f"/api/v1/namespaces/{home}/pods/{name}/status"
    http.patch(path, json=status, headers=merge).raise_for_status()
    server.api.kubelet.ports[home, name, 18001] = ("127.0.0.1", port)


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def lease(holder: str, renewed: str) -> dict[str, Any]:
    spec = {"leaseDurationSeconds": 15, "renewTime": renewed, "leaseTransitions": 3}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "weir-decider"},
        "spec": {**spec, "holderIdentity": f"{holder}_1f00ba42"},
    }


def weir(*arguments: str, plugin: bool = False) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(build(plugin), list(arguments), prog_name="weir")


def programs(folder: Path) -> Path:
    """`weir` and the plugins as programs of a folder, as an installation makes them."""
    verb = "from controlplane.cli.completion import kubectl_complete as run"
    for name, called in (
        ("weir", "from controlplane.cli import main as run"),
        ("kubectl-weir", "from controlplane.cli import plugin as run"),
        ("kubectl_complete-weir", verb),
    ):
        path = folder / name
        path.write_text(f"#!{sys.executable}\n{called}\nrun()\n")
        path.chmod(0o755)
    return folder
