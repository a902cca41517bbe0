"""`kubectl weir` against a cluster: which replicas it finds, and the ways that it opens to them."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.cli import reach
from controlplane.cli.completion import offered as completed
from controlplane.cli.installed import find
from controlplane.cli.kubectl import ClusterError, Kubectl, forwarded
from controlplane.cli.report import cluster
from tests.certificates import Authority, Files
from tests.kubernetes import replicas, tools
from tests.kubernetes.apiserver import ApiServer, errors
from tests.kubernetes.replicas import HOME, Admin, weir
from tests.kubernetes.test_apiserver_access import as_one

SOON_S = 10.0


def service(name: str) -> dict[str, Any]:
    numbers = {"endpoints": 2, "groups": 1, "age_s": 1.0}
    words = {"policy": "model", "actuation": "groups", "state": "ok"}
    return {"service": name, **words, **numbers}


def envoy(node: str, fleet: str, connected_s: float) -> dict[str, Any]:
    return {
        "node": node,
        "fleet": fleet,
        "place": "",
        "connected_s": connected_s,
        "streams": 1,
        "types": {},
    }


def pages(*envoys: dict[str, Any]) -> dict[str, Any]:
    return {
        "/v1/services": [service("shop/cart"), service("shop/web:80"), service("bank/teller")],
        "/v1/proxies": list(envoys),
        "/v1/proxies?limit=10000": list(envoys),
        "/v1/status": [
            {"kind": "Gateway", "name": "shop/edge", "conditions": []},
            {"kind": "Gateway", "name": "bank/door", "conditions": []},
        ],
        "/v1/freeze": {"frozen": "all"},
    }


@dataclass(frozen=True)
class Scene:
    """Two replicas of Weir in a cluster; `second` decides."""

    server: ApiServer
    http: httpx.Client
    first: Admin
    second: Admin
    kubeconfig: Path
    programs: Path

    def environment(self) -> dict[str, str]:
        beside = Path(tools.program("kubectl")).parent
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{self.programs}:{beside}:{os.environ['PATH']}",
            "HOME": str(self.programs),
        }

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The real one, which finds the plugin on the PATH."""
        return subprocess.run(
            ["kubectl", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("plugin")
    here, there = envoy("a", "shop/edge", 60.0), envoy("b", "bank/door", 5.0)
    moved = envoy("a", "shop/edge", 2.0)
    with (
        ApiServer(rollouts=True) as server,
        httpx.Client(base_url=server.url) as http,
        replicas.admin(pages(here)) as first,
        replicas.admin(pages(there, moved)) as second,
    ):
        replicas.replica(server, http, "weir-1", first.port)
        replicas.replica(server, http, "weir-2", second.port)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        path = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases"
        replicas.put(http, path, replicas.lease("weir-2", now))
        kubeconfig = server.write_kubeconfig(folder / "kubeconfig")
        yield Scene(server, http, first, second, kubeconfig, replicas.programs(folder))


@pytest.fixture(autouse=True)
def here(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "HOME", "KUBECONFIG"):
        monkeypatch.setenv(name, scene.environment()[name])
    monkeypatch.delenv("WEIR_ADMIN_ADDRESS", raising=False)


def test_kubectl_runs_it_as_a_plugin_and_it_asks_the_replica_that_decides(scene: Scene) -> None:
    scene.first.asked.clear()
    done = scene.kubectl("weir", "weights", "list", "-n", "shop", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert "shop/cart" in done.stdout
    assert "bank/teller" not in done.stdout
    assert scene.first.asked == []


def test_without_the_plugin_a_context_says_that_a_cluster_is_meant() -> None:
    assert "no answer from 127.0.0.1:18001" in str(weir("weights", "list").exception)
    assert "bank/teller" in weir("weights", "list", "--context", "test", "-A").stdout
    found = weir("weights", "list", "--admin-address", "127.0.0.1:1", plugin=True)
    assert "no answer from 127.0.0.1:1" in str(found.exception)


def test_the_envoys_of_all_replicas_are_told_once_each() -> None:
    shown = weir("proxy-status", "-o", "json", plugin=True)
    assert shown.exit_code == 0, shown.output
    assert '"node": "a", "fleet": "shop/edge", "place": "", "connected_s": 2.0' in shown.stdout
    assert shown.stdout.count('"node"') == 2
    assert '"b"' not in weir("proxy-status", "-n", "shop", "-o", "json", plugin=True).stdout


def test_a_freeze_is_told_to_every_replica(scene: Scene) -> None:
    for one in (scene.first, scene.second):
        one.asked.clear()
    shown = weir("policy", "freeze", "cart", "-n", "shop", "-r", "why not", plugin=True)
    assert "shop/cart: frozen" in shown.stdout
    for one in (scene.first, scene.second):
        ((path, body),) = one.asked
        assert path == "/v1/freeze"
        assert (body["service"], body["reason"]) == ("shop/cart", "why not")


def test_a_replica_that_does_not_answer_keeps_a_freeze_from_no_other(scene: Scene) -> None:
    two = ("--admin-address", f"127.0.0.1:1,127.0.0.1:{scene.first.port}")
    scene.first.pages["/v1/resume"] = {"resumed": "all", "still_frozen": []}
    for verb, done in (("freeze", "frozen"), ("resume", "resumed")):
        scene.first.asked.clear()
        shown = weir(verb, *two)
        assert [path for path, _ in scene.first.asked] == [f"/v1/{verb}"]
        assert f"all services: {done} at 1 of 2 replicas" in str(shown.exception)
        assert "no answer from 127.0.0.1:1" in str(shown.exception)


def test_a_replica_without_a_way_to_it_is_not_passed_over_by_a_freeze(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def one_fails(
        kubectl: Kubectl, ports: Sequence[tuple[str, str, int]], deadline_s: float
    ) -> Iterator[list[str | ClusterError]]:
        with forwarded(kubectl, ports, deadline_s) as ways:
            yield [ways[0], ClusterError("pod is not running")]

    monkeypatch.setattr(reach, "forwarded", one_fails)
    scene.second.pages["/v1/resume"] = {"resumed": "all", "still_frozen": []}
    for verb, done in (("freeze", "frozen"), ("resume", "resumed")):
        shown = weir(verb, plugin=True)
        assert f"all services: {done} at 1 of 2 replicas. pod" in str(shown.exception)
        assert "pod is not running" in str(shown.exception)


def test_a_forward_carries_bytes_both_ways_and_is_gone_after_its_block(scene: Scene) -> None:
    with forwarded(Kubectl(), [(HOME, "weir-1", 18001), (HOME, "weir-2", 18001)]) as ways:
        assert all(isinstance(one, str) for one in ways)
        scene.first.pages["/large"] = "x" * 300_000
        with httpx.Client(base_url=f"http://{ways[0]}") as http:
            for _ in range(3):
                assert len(http.get("/large").text) == 300_000
            assert http.post("/v1/freeze", json={"reason": "y" * 100_000}).status_code == 200
        assert len(scene.first.asked[-1][1]["reason"]) == 100_000
    for one in ways:
        host, _, port = str(one).partition(":")
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((host, int(port)), timeout=SOON_S)


def test_when_there_is_no_time_left_the_cluster_is_not_asked() -> None:
    with pytest.raises(ClusterError, match="no time left"):
        Kubectl(ends_s=0.0).objects("/api/v1/pods")


def test_who_may_read_the_secrets_of_one_namespace_alone_knows_those(scene: Scene) -> None:
    replicas.put(scene.http, f"/api/v1/namespaces/{HOME}/secrets", {"metadata": {"name": "mine"}})
    rule = scene.server.faults.refuse(
        lambda _: errors.ApiError(403, "Forbidden", "secrets is forbidden"),
        verbs=["list"],
        resource="secrets",
        when=lambda request: not request.namespace,
    )
    found = cluster.secrets(Kubectl(), HOME)
    assert rule.met == 1
    assert [one["metadata"]["name"] for one in found] == ["mine"]


def test_a_pod_that_is_not_there_is_told_while_others_are_reached() -> None:
    with forwarded(Kubectl(), [(HOME, "nosuch", 18001), (HOME, "weir-1", 18001)]) as ways:
        assert isinstance(ways[0], ClusterError)
        assert "nosuch" in str(ways[0])
        assert isinstance(ways[1], str)


def test_a_forward_ends_with_the_block_also_by_an_error_and_waits_no_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, pid = tmp_path / "kubectl", tmp_path / "pid"
    silent.write_text(f"#!/bin/sh\necho $$ >{pid}\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def use() -> None:
        with forwarded(Kubectl(), [(HOME, "weir-1", 18001)], deadline_s=0.3) as ways:
            assert "no way to the pod within 0.3 s" in str(ways[0])
            while not pid.exists() or not pid.read_text():  # it has begun by then, however busy
                time.sleep(0.01)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    with pytest.raises(ClusterError, match=r"no answer within 0\.2 s"):
        Kubectl(call_s=0.2).get("/version")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it on Linux alone")
def test_a_forward_ends_also_where_the_command_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    silent = tmp_path / "kubectl"
    silent.write_text(f"#!/bin/sh\necho $$ >{pid}\nexec sleep 60\n")
    silent.chmod(0o755)
    program = """
import os, pathlib, sys, time
from controlplane.cli.kubectl import Kubectl
forward = Kubectl().start_forward("shop", "weir-1", 18001)
pid = pathlib.Path(sys.argv[1])
while not pid.exists() or not pid.read_text():
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [sys.executable, "-c", program, str(pid)]
    assert subprocess.run(command, env=environment, timeout=60, check=False).returncode == -9
    ends_s = time.monotonic() + SOON_S
    while Path(f"/proc/{int(pid.read_text())}").exists():
        assert time.monotonic() < ends_s, "kubectl is still there"
        time.sleep(0.01)


def test_refusals_of_the_cluster_come_in_its_words(scene: Scene) -> None:
    with pytest.raises(ClusterError) as missing:
        Kubectl().get("/api/v1/namespaces/nosuch")
    assert missing.value.missing
    assert Kubectl().objects("/apis/nosuch.example/v1/things") == []
    with pytest.raises(ClusterError, match="context"):
        Kubectl(context="nosuch").get("/version")
    refused = weir("weights", "list", "--kubeconfig", str(scene.programs / "nosuch"))
    assert isinstance(refused.exception, ClusterError)


def test_of_two_installations_one_must_be_named_and_of_none_that_is_said(scene: Scene) -> None:
    assert find(Kubectl(), HOME).decides == "weir-2"
    assert [one.name for one in find(Kubectl(), None).pods] == ["weir-2", "weir-1"]
    replicas.replica(scene.server, scene.http, "weir-3", scene.first.port, home="other")
    with pytest.raises(ClusterError, match="a Weir in each of other, weir-system"):
        find(Kubectl(), None)
    assert weir("weights", "list", "--weir-namespace", HOME).exit_code == 0
    assert scene.http.delete("/api/v1/namespaces/other/pods/weir-3").status_code == 200
    with pytest.raises(ClusterError, match="no pod of Weir runs in the namespace other"):
        find(Kubectl(), "other")


def test_over_tls_a_user_of_one_namespace_gets_as_far_as_his_rights_go(tmp_path: Path) -> None:
    authority = Authority()
    files = Files(tmp_path / "tls").put(authority.issue(ips=["127.0.0.1"]), authority.pem)
    with (
        ApiServer(tls=files, access_control=True, rollouts=True) as server,
        as_one(server, server.admin_token) as http,
        replicas.admin(pages()) as admin,
    ):
        replicas.replica(server, http, "weir-1", admin.port)
        token = server.account_token("default", "sre")
        kubeconfig = str(server.write_kubeconfig(tmp_path / "kubeconfig", token))
        ask = ("weights", "list", "-o", "json", "--kubeconfig", kubeconfig)
        assert "(Forbidden)" in str(weir(*ask).exception)
        grant(http, {"pods": ["get", "list"]})
        assert "no way to the pod" in str(weir(*ask).exception)
        grant(http, {"pods": ["get", "list"], "pods/portforward": ["get", "create"]})
        assert "shop/cart" in weir(*ask).stdout


def grant(http: httpx.Client, rights: dict[str, list[str]]) -> None:
    """To the service account `sre`, in the namespace of Weir alone."""
    base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{HOME}"
    rules = [{"apiGroups": [""], "resources": [what], "verbs": may} for what, may in rights.items()]
    subject = {"kind": "ServiceAccount", "name": "sre", "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "sre"}
    http.delete(f"{base}/roles/sre")
    replicas.put(http, f"{base}/roles", {"metadata": {"name": "sre"}, "rules": rules})
    binding = {"metadata": {"name": "sre"}, "roleRef": role, "subjects": [subject]}
    replicas.put(http, f"{base}/rolebindings", binding)


def test_kubectl_completes_the_plugin(scene: Scene) -> None:
    offered = scene.kubectl("__complete", "weir", "weights", "explain", "shop/").stdout.split()
    assert offered == ["shop/cart", "shop/web:80", ":4"]


def test_names_are_those_of_the_cluster_and_the_namespace_that_the_line_says() -> None:
    assert completed(["proxy-config", "cluster", ""], plugin=True) == ["a", "b", ":4"]
    of_bank = ["freeze", "--context", "test", "-n", "bank", ""]
    assert completed(of_bank, plugin=False) == ["bank/teller", ":4"]
    assert "default" in completed(["status", "-n", "def"], plugin=True)
    assert completed(["status", "--context", ""], plugin=True) == ["test", ":4"]


def test_names_that_cannot_be_had_are_not_waited_for_and_not_spoken_of(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    scene.server.api.kubelet.ports[HOME, "weir-2", 18001] = ("127.0.0.1", 1)
    assert completed(["weights", "explain", ""], plugin=True) == [":0"]
    scene.server.api.kubelet.ports[HOME, "weir-2", 18001] = ("127.0.0.1", scene.second.port)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes a connection and says nothing
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        assert completed(["freeze", "--admin-address", address, ""], plugin=True) == [":0"]
    assert capfd.readouterr() == ("", "")
