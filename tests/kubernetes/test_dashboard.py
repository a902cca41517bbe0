"""`weir dashboard`: which pod it finds, the way there by the real kubectl, and how the way ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from controlplane.cli.completion import offered as completed
from controlplane.lab.envoy import free_port
from tests.kubernetes import replicas, tools
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.replicas import HOME, weir

SOON_S = 15.0
OURS = {"app.kubernetes.io/part-of": "weir"}
QUIET = "--browser=false"


@dataclass(frozen=True)
class Scene:
    """A cluster in which Weir's chart brought a Grafana, and others have one, too."""

    server: ApiServer
    http: httpx.Client
    kubeconfig: Path
    programs: Path

    def pod(self, home: str, name: str, labels: Mapping[str, str], **listens: int) -> None:
        """A pod that is ready; `listens`: ports as p3000, and who answers there."""
        replicas.put(self.http, "/api/v1/namespaces", replicas.namespace(home))
        document = replicas.pod(name)
        document["metadata"]["labels"] = dict(labels)
        replicas.put(self.http, f"/api/v1/namespaces/{home}/pods", document)
        merge = {"content-type": "application/merge-patch+json"}
        path = f"/api/v1/namespaces/{home}/pods/{name}/status"
        self.http.patch(path, json={"status": {"phase": "Running"}}, headers=merge)
        for port, at in listens.items():
            self.server.api.kubelet.ports[home, name, int(port[1:])] = ("127.0.0.1", at)

    def environment(self, programs: Path | None = None) -> dict[str, str]:
        """With these programs in front of all others."""
        beside = Path(tools.program("kubectl")).parent
        path = [str(one) for one in (programs, self.programs, beside) if one is not None]
        own = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.programs)}
        return {**os.environ, **own, "PATH": os.pathsep.join([*path, os.environ["PATH"]])}

    @contextlib.contextmanager
    def shown(
        self, *arguments: str, programs: Path | None = None
    ) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """The command, running, and the address that it printed."""
        process = subprocess.Popen(
            ["kubectl", "weir", "dashboard", *arguments],
            env=self.environment(programs),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            with process:
                assert process.stdout is not None
                line = process.stdout.readline().strip()
                assert line.startswith("http://"), process.communicate(timeout=SOON_S)
                try:
                    yield process, line
                finally:
                    process.terminate()
        finally:
            process.kill()


def is_gone(url: str) -> bool:
    """Whether nobody listens there, soon."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    ends_s = time.monotonic() + SOON_S
    while time.monotonic() < ends_s:
        try:
            socket.create_connection((host, int(port)), timeout=SOON_S).close()
        except ConnectionRefusedError:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("dashboard")
    with (
        ApiServer() as server,
        httpx.Client(base_url=server.url) as http,
        replicas.admin({"/": "ours", "/api/health": "fine"}) as ours,
        replicas.admin({"/": "another's"}) as others,
        replicas.admin({"/": "envoy"}) as envoy,
    ):
        kubeconfig = server.write_kubeconfig(folder / "kubeconfig")
        made = Scene(server, http, kubeconfig, replicas.programs(folder))
        name = {"app.kubernetes.io/name": "grafana"}
        made.pod(HOME, "weir-grafana-1", {**name, **OURS}, p3000=ours.port)
        made.pod("monitoring", "grafana-1", name, p3000=others.port, p4000=ours.port)
        for home in ("monitoring", "shop"):
            made.pod(home, "prometheus-0", {"app.kubernetes.io/name": "prometheus", "of": home})
        made.pod(HOME, "weir-envoy-1", {"weir.dev/envoy": "true"}, p9901=envoy.port)
        yield made


@pytest.fixture(autouse=True)
def here(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "HOME", "KUBECONFIG"):
        monkeypatch.setenv(name, scene.environment()[name])


def test_grafana_of_the_chart_is_shown_until_ctrl_c(scene: Scene) -> None:
    port = free_port()
    with scene.shown("grafana", QUIET, f"--port={port}") as (process, url):
        assert url == f"http://127.0.0.1:{port}"
        assert httpx.get(url).text == "ours"
        assert httpx.get(f"{url}/api/health").text == "fine"
        process.send_signal(signal.SIGINT)
        assert process.wait(SOON_S) == 0
    assert is_gone(url)


def test_the_browser_is_opened_and_the_way_ends_with_the_command(
    scene: Scene, tmp_path: Path
) -> None:
    browser, opened = tmp_path / "xdg-open", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(0o755)
    where = ("-n", "monitoring", "--ui-port=4000")
    with scene.shown("grafana", *where, programs=tmp_path) as (process, url):
        ends_s = time.monotonic() + SOON_S
        while not opened.exists():
            assert time.monotonic() < ends_s, "no browser was opened"
            time.sleep(0.02)
        assert opened.read_text().strip() == url
        assert httpx.get(url).text == "ours"
        process.terminate()
        assert process.wait(SOON_S) == 128 + signal.SIGTERM
    assert is_gone(url)


def test_an_envoy_is_shown_and_a_port_that_is_taken_is_not_fought_for(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody of this machine has it
            stack.enter_context(socket.create_server(("127.0.0.1", 9901)))
        _, url = stack.enter_context(scene.shown("envoy", f"{HOME}/weir-envoy-1", QUIET))
        assert not url.endswith(":9901")
        assert httpx.get(url).text == "envoy"


def test_what_cannot_be_shown_is_told(scene: Scene) -> None:
    """None, several, a pod that is not there; a port that is taken."""

    def refused(*arguments: str) -> str:
        done = weir("dashboard", *arguments, QUIET)
        assert done.exit_code != 0
        return str(done.exception)

    assert "in each of monitoring, shop" in refused("prometheus")
    assert "monitoring.enabled" in refused("prometheus", "-n", HOME)
    assert "labels of=nobody" in refused("prometheus", "-l", "of=nobody")
    assert "nosuch" in refused("envoy", "nosuch", "-n", HOME)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("grafana", "--port", str(port))
    assert f"unable to listen on port {port}" in said.lower()


def test_others_see_it_only_where_that_was_said(scene: Scene) -> None:
    with scene.shown("grafana", QUIET, "--address=0.0.0.0") as (process, url):
        assert url.startswith("http://0.0.0.0:")
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "whoever reaches this machine at 0.0.0.0 sees it" in said


def test_a_way_that_ends_is_told_however_much_kubectl_said_before(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells of each connection: a pipe that nobody reads would be full after a few thousand."""
    real = tools.program("kubectl")
    chatty = tmp_path / "kubectl"
    chatty.write_text(
        f'#!/bin/sh\ncase "$*" in *port-forward*) ;; *) exec {real} "$@" ;; esac\n'
        'echo "Forwarding from 127.0.0.1:1 -> 3000"\n'
        "yes Handling connection for 3000 | head -c 300000\n"
        "echo lost connection to pod >&2\n"
    )
    chatty.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = weir("dashboard", "grafana", QUIET)
    assert "the way to the pod has ended: lost connection to pod" in str(done.exception)
    assert done.stdout == "http://127.0.0.1:1\n"


def test_pods_of_envoys_are_completed() -> None:
    assert completed(["dashboard", "envoy", ""], plugin=True) == [f"{HOME}/weir-envoy-1", ":4"]
    named = ["dashboard", "envoy", "-n", HOME, "weir-"]
    assert completed(named, plugin=True) == ["weir-envoy-1", ":4"]
    assert completed(["dashboard", "g"], plugin=True)[0].startswith("grafana\t")
