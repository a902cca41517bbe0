"""`weir install` by the real Helm, and what `weir verify-install` says of what is there then."""

from __future__ import annotations

import base64
import datetime
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from controlplane.cli.admin import ControlPlane, Replica
from controlplane.cli.chart import chart_folder
from controlplane.cli.kubectl import Kubectl
from controlplane.cli.verify import access, cluster, running, workload
from controlplane.cli.verify.check import State
from controlplane.cli.verify.webhook import checks as webhook_checks
from controlplane.errors import ConfigurationError
from controlplane.kubernetes.resource import Resource
from controlplane.telemetry.version import version
from tests.certificates import Authority
from tests.kubernetes import replicas, tools
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.replicas import HOME, Admin, weir
from tests.kubernetes.scene import gateway_api

ROOT = Path(__file__).parents[2]
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
METRICS = """\
# TYPE weir_xds_certificate_expiry_seconds gauge
weir_xds_certificate_expiry_seconds {seconds}
"""


@dataclass(frozen=True)
class Scene:
    """An empty cluster, and who answers for a replica."""

    server: ApiServer
    http: httpx.Client
    admin: Admin

    def checks(self, *arguments: str) -> dict[str, list[dict[str, Any]]]:
        """What `weir verify-install` says, by the name of the check."""
        done = weir("verify-install", "-o", "json", *arguments)
        found: dict[str, list[dict[str, Any]]] = {}
        for one in json.loads(done.stdout):
            found.setdefault(one["name"], []).append(one)
        bad = any(each["state"] == "FAIL" for one in found.values() for each in one)
        assert done.exit_code == int(bad), done.output
        return found


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("install")
    said = {
        "/readyz": "ready\n",
        "/metrics": METRICS.format(seconds=90 * 86_400),
        "/v1/about": {"version": version(), "settings": {}},
        "/v1/problems": [],
        "/v1/status": [],
        "/v1/proxies?limit=10000": [],
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        ApiServer(rollouts=True) as server,
        httpx.Client(base_url=server.url) as http,
        replicas.admin(said) as admin,
    ):
        patch.setenv("KUBECONFIG", str(server.write_kubeconfig(folder / "kubeconfig")))
        patch.setenv("HOME", str(folder))
        patch.setenv("PATH", f"{Path(tools.program('helm')).parent}:/usr/bin:/bin")
        yield Scene(server, http, admin)


def with_gateway_api(scene: Scene) -> None:
    """Definitions that say of which bundle they are."""
    for one in gateway_api():
        one["metadata"]["annotations"]["gateway.networking.k8s.io/bundle-version"] = "v1.4.0"
        replicas.put(scene.http, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", one)


def test_of_an_empty_cluster_everything_is_a_failure_with_advice(scene: Scene) -> None:
    empty = scene.checks("--weir-namespace", "nowhere")
    assert empty["gateway-api"][0]["state"] == "FAIL"
    assert "standard-install.yaml" in empty["gateway-api"][0]["advice"]
    assert "weir crds" in empty["definitions"][0]["advice"]
    for name in ("pods", "deployment"):
        assert (empty[name][0]["state"], empty[name][0]["advice"]) == ("FAIL", "weir install")


def test_the_manifests_are_printed_and_nothing_is_installed(scene: Scene) -> None:
    shown = weir("install", "--dry-run", "-n", "infra", "--set", "replicaCount=3")
    assert shown.exit_code == 0, shown.output
    made = [one for one in yaml.safe_load_all(shown.stdout) if one]
    (deployment,) = [one for one in made if one["kind"] == "Deployment"]
    assert deployment["metadata"]["namespace"] == "infra"
    assert deployment["spec"]["replicas"] == 3
    assert not [one for one in made if one["kind"] == "Pod"]  # tests are not installed
    listed = json.loads(weir("install", "--dry-run", "-n", "infra", "-o", "json").stdout)
    assert listed["kind"] == "List"
    assert len(listed["items"]) == len(made)
    assert scene.http.get("/api/v1/namespaces/infra").status_code == 404


def test_it_installs_and_upgrades_and_the_server_is_asked_first_if_that_is_wanted(
    scene: Scene, tmp_path: Path
) -> None:
    with_gateway_api(scene)
    rehearsed = weir("install", "--dry-run=server", "-o", "json")
    assert rehearsed.exit_code == 0, rehearsed.output
    assert {"Deployment", "ClusterRole"} <= {
        one["kind"] for one in json.loads(rehearsed.stdout)["items"]
    }
    assert scene.http.get(f"/api/v1/namespaces/{HOME}").status_code == 404
    done = weir("install", "--wait", "--timeout-s", "30")
    assert done.exit_code == 0, done.output
    assert "weir verify-install --weir-namespace weir-system" in done.stdout
    values = tmp_path / "values.yaml"
    values.write_text("replicaCount: 3\n")
    more = ("-o", "json", "--", "--description", "a third")
    again = weir("install", "-f", str(values), *more)
    assert again.exit_code == 0, again.output
    told = json.loads(again.stdout)
    assert (told["release"], told["revision"], told["status"]) == ("weir", 2, "deployed")
    assert "PRIVATE KEY" not in again.stdout
    path = f"/apis/apps/v1/namespaces/{HOME}/deployments/weir"
    assert scene.http.get(path).json()["spec"]["replicas"] == 3


def test_what_helm_refuses_and_that_there_is_none_is_said(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = weir("install", "--dry-run", "--set", "replicas=3")
    assert "additional properties 'replicas' not allowed" in str(refused.exception)
    assert "--chart" in str(weir("install", "--version", "9.9.9").exception)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "https://helm.sh/docs/intro/install" in str(weir("install").exception)
    assert "https://kubernetes.io/docs/tasks/tools" in str(weir("verify-install").exception)


def test_a_wheel_has_the_chart_within_it_and_a_checkout_beside_it(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    packed = chart_folder(tmp_path / "controlplane")
    assert packed == tmp_path / "controlplane" / "charts" / "weir"
    ours = {one.relative_to(chart_folder()) for one in chart_folder().rglob("*")}
    assert {one.relative_to(packed) for one in packed.rglob("*")} == ours
    assert chart_folder() == ROOT / "charts" / "weir"
    with pytest.raises(ConfigurationError, match="no chart"):
        chart_folder(tmp_path / "elsewhere")


def whole(scene: Scene) -> None:
    """It is installed, one replica runs, and decides."""
    with_gateway_api(scene)
    if scene.http.get(f"/apis/apps/v1/namespaces/{HOME}/deployments/weir").status_code == 404:
        assert weir("install").exit_code == 0
    replicas.replica(scene.server, scene.http, "weir-1", scene.admin.port)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    path = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases"
    scene.http.delete(f"{path}/weir-decider")
    replicas.put(scene.http, path, replicas.lease("weir-1", now))
    # What a replica does for its webhook, and what the cluster does for its Service.
    ca = base64.b64encode(Authority(ends_h=24 * 90).pem).decode()
    write = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": ca}]
    as_patch = {"content-type": "application/json-patch+json"}
    scene.http.patch(f"{WEBHOOKS}/weir", json=write, headers=as_patch).raise_for_status()
    piece = {
        "metadata": {"name": "weir", "labels": {"kubernetes.io/service-name": "weir"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "webhook", "port": 9443}],
    }
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{HOME}/endpointslices"
    replicas.put(scene.http, slices, piece)


def test_of_a_whole_installation_nothing_is_a_failure(scene: Scene) -> None:
    whole(scene)
    shown = weir("verify-install", "--strict")
    assert shown.exit_code == 1  # no Envoy is connected
    states = set(re.findall(r"(?m)^(OK|WARN|FAIL) +([a-z-]+): ", shown.stdout))
    good = ("kubernetes", "gateway-api", "definitions", "deployment", "permissions", "lease")
    more = ("webhook", "ready", "certificates", "objects")
    assert states == {("WARN", "envoys"), *(("OK", name) for name in (*good, *more))}
    assert "OK   lease: weir-1 decides, epoch 3\n" in shown.stdout


def test_a_right_that_is_taken_away_and_a_definition_that_was_changed_are_found(
    scene: Scene,
) -> None:
    whole(scene)
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/weir"
    definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/backends.weir.dev"
    before = scene.http.get(role).json()
    kept = [one for one in before["rules"] if "secrets" not in one["resources"]]
    scene.http.put(role, json={**before, "rules": kept}).raise_for_status()
    changed = scene.http.get(definition).json()
    changed["spec"]["names"]["shortNames"] = ["older"]
    scene.http.put(definition, json=changed).raise_for_status()
    found = scene.checks()
    assert found["permissions"][0]["state"] == "FAIL"
    assert "may not list configmaps, watch configmaps" in found["permissions"][0]["message"]
    assert found["definitions"][0]["state"] == "WARN"
    assert "backends.weir.dev" in found["definitions"][0]["message"]


@pytest.mark.parametrize(
    ("bundle", "policy", "state", "words"),
    [
        (lambda: Authority(ends_h=24 * 90).pem, "Ignore", "OK", "is good until"),
        (lambda: Authority(ends_h=24).pem, "Fail", "WARN", "ends"),
        (lambda: Authority(starts_h=-3, ends_h=-1).pem, "Ignore", "FAIL", "ended"),
        (lambda: b"no PEM", "Ignore", "FAIL", "holds no certificates"),
    ],
)
def test_the_cas_of_a_webhook_are_looked_at_and_who_answers_for_it(
    scene: Scene, bundle: Callable[[], bytes], policy: str, state: str, words: str
) -> None:
    home = "elsewhere"
    service = {"name": "weir", "namespace": home, "port": 443}
    webhook = {
        "name": "validate.weir.dev",
        "clientConfig": {"service": service, "caBundle": base64.b64encode(bundle()).decode()},
        "rules": [],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": policy,
    }
    document = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "test"},
        "webhooks": [webhook],
    }
    replicas.put(scene.http, WEBHOOKS, document)
    found = list(webhook_checks(Kubectl(), home, datetime.datetime.now(datetime.UTC), 30.0))
    assert scene.http.delete(f"{WEBHOOKS}/test").status_code == 200
    assert (found[0].state, words in found[0].message) == (state, True)
    assert "nobody answers for validate.weir.dev" in found[1].message
    assert found[1].state == ("WARN" if policy == "Ignore" else "FAIL")


# --- what is judged, without a cluster ---


def test_a_lease_that_is_old_or_that_nobody_known_holds_is_no_leader() -> None:
    def judged(renewed_s: float, pods: tuple[str, ...] = ("weir-1",)) -> State:
        renewed = (NOW - datetime.timedelta(seconds=renewed_s)).isoformat()
        return workload.lease(replicas.lease("weir-1", renewed), pods, NOW, HOME).state

    assert judged(14.0) is State.OK
    assert judged(60.0) is State.FAIL
    assert judged(1.0, ("weir-2",)) is State.WARN
    assert workload.lease(None, (), NOW, HOME).state is State.FAIL
    assert workload.lease({"spec": {"holderIdentity": ""}}, (), NOW, HOME).state is State.FAIL


@pytest.mark.parametrize(
    ("status", "replicas_wanted", "state"),
    [
        ({"readyReplicas": 2, "updatedReplicas": 2}, 2, State.OK),
        ({"readyReplicas": 1, "updatedReplicas": 2}, 2, State.WARN),
        ({"readyReplicas": 2, "updatedReplicas": 1}, 2, State.WARN),
        ({"readyReplicas": 1, "updatedReplicas": 1}, 1, State.WARN),
    ],
)
def test_a_deployment_is_as_good_as_its_replicas(
    status: dict[str, Any], replicas_wanted: int, state: State
) -> None:
    available = {"conditions": [{"type": "Available", "status": "True"}], "observedGeneration": 1}
    one = {
        "metadata": {"name": "weir", "generation": 1},
        "spec": {"replicas": replicas_wanted},
        "status": {**available, **status},
    }
    (found,) = workload.deployment([one], HOME)
    assert found.state is state
    (gone,) = workload.deployment([{**one, "status": {}}], HOME)
    assert gone.state is State.FAIL


@pytest.mark.parametrize(
    ("days_left", "state"), [(90.0, State.OK), (10.0, State.WARN), (-1.0, State.FAIL)]
)
def test_certificates_are_told_of_before_they_end(days_left: float, state: State) -> None:
    metrics = METRICS.format(seconds=days_left * 86_400)
    (found,) = running.certificates(metrics, "weir-1", NOW, 30.0)
    assert found.state is state


@pytest.mark.parametrize("metrics", [None, "no {metrics"])
def test_a_replica_that_answers_in_part_is_told_of_and_everything_else_is_looked_at(
    metrics: str | None,
) -> None:
    pages: dict[str, Any] = {
        "/readyz": "ok",
        "/v1/about": "[",
        "/v1/status": [],
        "/v1/problems": [],
    }
    if metrics is not None:
        pages["/metrics"] = metrics
    with replicas.admin(pages) as admin:
        weir = ControlPlane((Replica(f"127.0.0.1:{admin.port}"),))
        now = datetime.datetime.now(datetime.UTC)
        found = {one.name: one.state for one in running.checks(weir, "1", now, 30.0)}
    assert found == {
        "ready": State.OK,
        "version": State.WARN,
        "certificates": State.WARN,
        "envoys": State.FAIL,
        "objects": State.OK,
    }


def test_of_one_namespace_nothing_of_the_cluster_is_needed() -> None:
    there = {
        "Node": Resource("v1", "nodes", "Node", namespaced=False),
        "Gateway": Resource("gateway.networking.k8s.io/v1", "gateways", "Gateway"),
    }
    wide = {str(one) for one in access.needed(there, {}, HOME)}
    assert {
        "list nodes",
        "get gateways",
        "patch gateways/status",
        f"update leases in {HOME}",
    } <= wide
    narrow = {str(one) for one in access.needed(there, {"--namespace": "shop"}, HOME)}
    assert "watch gateways in shop" in narrow
    assert not any("nodes" in one for one in narrow)
    hooked = {str(one) for one in access.needed(there, {"--webhook-address": ":9443"}, HOME)}
    assert {"patch validatingwebhookconfigurations", f"update secrets in {HOME}"} <= hooked - wide
    files = {"--webhook-address": ":9443", "--webhook-cert": "/tls.crt"}
    assert {str(one) for one in access.needed(there, files, HOME)} == wide


def test_a_server_may_add_to_a_definition_and_leave_out_what_is_empty() -> None:
    ours = {"names": {"kind": "A"}, "versions": [{"name": "v1", "deprecated": False}]}
    theirs = {"names": {"kind": "A", "listKind": "AList"}, "versions": [{"name": "v1"}], "x": 1}
    assert cluster.covers(theirs, ours)
    assert not cluster.covers({**theirs, "versions": []}, ours)
    assert not cluster.covers({**theirs, "names": {"kind": "B"}}, ours)
