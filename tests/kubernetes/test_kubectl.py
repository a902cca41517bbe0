"""kubectl itself against the API: what a person types works, and refusals come in words."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.kubernetes import samples
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.samples import text, widget

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "web:1", ports: [{containerPort: 80}]}
      - {name: side, image: "side:1"}
"""


@pytest.fixture
def defined(cluster: Cluster) -> Cluster:
    """A cluster that knows the sample kind."""
    cluster.kubectl("apply", "-f", "-", given=text(samples.DEFINITION))
    cluster.kubectl("wait", "--for=condition=Established", "crd/widgets.test.weir.dev")
    return cluster


def applied(cluster: Cluster, *objects: dict[str, Any]) -> str:
    return cluster.kubectl("apply", "-f", "-", given=text(*objects))


def test_a_custom_object_from_apply_to_delete(defined: Cluster) -> None:
    assert "widget.test.weir.dev/a created" in applied(defined, widget("a", weight=3))
    assert "unchanged" in applied(defined, widget("a", weight=3))
    assert "configured" in applied(defined, widget("a", size="large"))
    found = defined.read("get", "wg", "a")
    assert found["spec"] == {"size": "large", "replicas": 1, "timeout": "30s"}
    assert found["metadata"]["generation"] == 2
    defined.kubectl("patch", "wg", "a", "--type=merge", "-p", '{"spec":{"replicas":3}}')
    defined.kubectl("label", "wg", "a", "tier=web")
    table = defined.kubectl("get", "weir-test", "-l", "tier=web").splitlines()
    assert table[0].split() == ["NAME", "SIZE", "READY", "AGE"]
    assert table[1].split()[:2] == ["a", "large"]
    assert "Size:      large" in defined.kubectl("describe", "wg", "a")
    assert defined.kubectl("get", "wg", "--field-selector=spec.size=small", "-o", "name") == ""
    assert "How big it is." in defined.kubectl("explain", "widget.spec.size")
    assert "deleted" in defined.kubectl("delete", "wg", "a", "--timeout=10s")
    assert "NotFound" in defined.refused("get", "wg", "a")


def test_wait_sees_a_condition_of_the_status(defined: Cluster) -> None:
    applied(defined, widget("a"))
    ready = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
    patch = ("patch", "wg", "a", "--type=merge", "-p", ready)
    defined.kubectl(*patch)
    assert "status" not in defined.read("get", "wg", "a")
    defined.kubectl(*patch, "--subresource=status")
    defined.kubectl("wait", "wg/a", "--for=condition=Ready", "--timeout=10s")
    found = defined.read("get", "wg", "a")
    assert found["metadata"]["generation"] == 1
    assert defined.kubectl("get", "wg", "a", "--no-headers").split()[2] == "True"


def test_scale_speaks_of_replicas(defined: Cluster) -> None:
    applied(defined, widget("a"))
    defined.kubectl("scale", "wg/a", "--replicas=4", "--current-replicas=1")
    assert defined.read("get", "wg", "a")["spec"]["replicas"] == 4
    assert defined.read("get", "wg", "a", "--subresource=scale")["spec"] == {"replicas": 4}


def test_a_wrong_object_is_refused_in_words(defined: Cluster) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"size": "tiny"}, r'spec\.size: Unsupported value: "tiny": supported values: '),
        ({"weight": 101}, r"spec\.weight: Invalid value: 101: .*less than or equal to 100"),
        ({"weight": 1, "share": 0.5}, r"give either weight or share"),
        ({"timeout": "soon"}, r"spec\.timeout: Invalid value: .*should match '\^\[0-9\]\+s\$'"),
        ({"ports": [{"name": "a"}]}, r"spec\.ports\[0\]\.port: Required value"),
        ({"bogus": 1}, r'unknown field "spec\.bogus"'),
        ({"tags": ["a", "a"]}, r'spec\.tags\[1\]: Duplicate value: "a"'),
    ]
    for spec, told in wrong:
        error = defined.refused("create", "-f", "-", given=text(widget("a", **spec)))
        assert re.search(told, error), error


def test_a_rule_of_transition_looks_at_the_old_object(defined: Cluster) -> None:
    applied(defined, widget("a", size="fixed"))
    error = defined.refused("apply", "-f", "-", given=text(widget("a", size="large")))
    assert "a fixed size stays" in error
    applied(defined, widget("a", size="fixed", weight=2))


def test_server_side_apply_tells_who_owns_a_field(defined: Cluster) -> None:
    ours = ("apply", "--server-side", "--field-manager=ours", "-f", "-")
    theirs = ("apply", "--server-side", "--field-manager=theirs", "-f", "-")
    port = {"name": "http", "port": 80}
    defined.kubectl(*ours, given=text(widget("a", weight=1, ports=[port])))
    other = {"name": "admin", "port": 81}
    defined.kubectl(*theirs, given=text(widget("a", ports=[other])))
    found = defined.read("get", "wg", "a")["spec"]["ports"]
    assert [one["name"] for one in found] == ["http", "admin"]
    error = defined.refused(*theirs, given=text(widget("a", weight=2, ports=[other])))
    assert 'conflict with "ours": .spec.weight' in error
    defined.kubectl(*theirs, "--force-conflicts", given=text(widget("a", weight=2)))
    found = defined.read("get", "wg", "a")["spec"]
    assert found["weight"] == 2
    assert [one["name"] for one in found["ports"]] == ["http"]  # its own went, ours stayed
    managed = defined.read("get", "wg", "a", "--show-managed-fields")["metadata"]["managedFields"]
    assert {one["manager"] for one in managed if one["operation"] == "Apply"} == {"ours", "theirs"}


def test_a_deployment_is_merged_container_by_container(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", given=DEPLOYMENT)
    cluster.kubectl("set", "image", "deployment/web", "side=side:2")
    cluster.kubectl("apply", "-f", "-", given=DEPLOYMENT.replace("web:1", "web:2"))
    found = cluster.read("get", "deploy", "web")
    assert found["metadata"]["generation"] == 3
    images = [one["image"] for one in found["spec"]["template"]["spec"]["containers"]]
    assert images == ["web:2", "side:1"]
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:3"}]}}}}
    cluster.kubectl("patch", "deploy", "web", "-p", yaml.safe_dump(patch))
    containers = cluster.read("get", "deploy", "web")["spec"]["template"]["spec"]["containers"]
    assert [one["image"] for one in containers] == ["web:3", "side:1"]
    assert containers[0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


def test_server_side_dry_run_changes_nothing(defined: Cluster) -> None:
    given = text(widget("a"))
    assert "dry run" in defined.kubectl("apply", "--dry-run=server", "-f", "-", given=given)
    assert "NotFound" in defined.refused("get", "wg", "a")


CORE = """
{apiVersion: v1, kind: Service, metadata: {name: web},
 spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: reads},
 rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {x: "1"}}
"""


def test_secrets_services_and_their_like_can_be_made_and_described(cluster: Cluster) -> None:
    cluster.kubectl("create", "-f", "-", given=CORE)
    cluster.kubectl("create", "secret", "generic", "key", "--from-literal=a=b")
    assert cluster.kubectl("auth", "can-i", "get", "pods").strip() == "yes"
    assert cluster.read("get", "secret", "key")["data"] == {"a": "Yg=="}
    assert cluster.read("get", "svc", "web")["spec"]["clusterIP"]
    for what in ("secret/key", "svc/web", "role/reads", "configmap/settings"):
        assert "Name:" in cluster.kubectl("describe", what)


def test_a_namespace_takes_everything_with_it(cluster: Cluster) -> None:
    name = f"{cluster.namespace}-more"
    replace(cluster, namespace=name).begin()
    home = {"name": "a", "namespace": name}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": home}
    cluster.kubectl("apply", "-n", name, "-f", "-", given=text(made))
    cluster.kubectl("delete", "namespace", name, "--timeout=60s")
    assert "NotFound" in cluster.refused("get", "configmap", "a", "-n", name)


def test_a_finalizer_holds_an_object_until_it_is_taken_off(defined: Cluster) -> None:
    one = widget("a")
    one["metadata"]["finalizers"] = ["test.weir.dev/hold"]
    applied(defined, one)
    defined.kubectl("delete", "wg", "a", "--wait=false")
    assert defined.read("get", "wg", "a")["metadata"]["deletionTimestamp"]
    off = '[{"op":"remove","path":"/metadata/finalizers"}]'
    defined.kubectl("patch", "wg", "a", "--type=json", "-p", off)
    defined.kubectl("wait", "wg/a", "--for=delete", "--timeout=10s")
